"""Running the command line as a user does: real nodes, free ports, waiting for conditions.

Commands that only ask a node run in this process; `eventmill` runs one in a process of its own.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, Self
from uuid import uuid4

from eventmill.cli.main import run
from tests.forking import Fork, hear_signals

PROJECT = Path(__file__).parent / "project"
SECONDS = 30.0


class Outcome:
    """What a finished command left."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code = code
        self.out = out
        self.err = err

    def __repr__(self) -> str:
        return f"<{self.code}\n--out\n{self.out}\n--err\n{self.err}>"

    def json(self) -> Any:
        """Decode the output."""
        assert self.code == 0, self
        return json.loads(self.out)


def eventmill(
    *arguments: str | Path,
    cwd: Path = PROJECT,
    env: dict[str, str] | None = None,
    stdin: str | None = None,
) -> Outcome:
    """Run a command to its end."""
    line = [str(argument) for argument in arguments]
    with TemporaryFile() as input, TemporaryFile() as out, TemporaryFile() as err:
        input.write((stdin or "").encode())
        for file in (input, out, err):
            file.seek(0)
        files = {"stdin": input, "stdout": out, "stderr": err}
        process = Fork(*line, cwd=cwd, env={**environment(), **(env or {})}, **files)
        try:
            code = process.wait(SECONDS)
        finally:
            process.kill()
        out.seek(0)
        err.seek(0)
        return Outcome(code, out.read().decode(), err.read().decode())


class RunningNode:
    """A node in a process of its own; stopped at the end of the `with` block."""

    def __init__(
        self,
        data: Path,
        *options: str,
        target: str = "wallet:service",
        cwd: Path = PROJECT,
        env: dict[str, str] | None = None,
    ) -> None:
        self.data = data
        line = ["run", target, "--data", str(data), "--port", "0", "--log", "json", *options]
        said, says = os.pipe()
        with os.fdopen(says, "wb") as stderr:
            env = {**environment(), **(env or {})}
            self.process = Fork(*line, cwd=cwd, env=env, stderr=stderr)
        self._said = os.fdopen(said, encoding="utf-8")
        self.log: list[dict[str, Any]] = []
        self.facts: dict[str, Any] = {}

    def __enter__(self) -> Self:
        self.facts = self.wait_for("started")
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.terminate()  # not killed: with --reload it has a child to stop
        try:
            self.process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._said.close()

    @property
    def url(self) -> str:
        return str(self.facts["url"])

    @property
    def admin_url(self) -> str:
        return str(self.facts["admin_url"])

    def wait_for(self, event: str) -> dict[str, Any]:
        """Read the log until a record says `event`, or a line that is no record contains it."""
        for line in self._said:
            is_record = line.startswith("{")
            record = json.loads(line) if is_record else {"event": line.rstrip()}
            self.log.append(record)
            if record["event"] == event or (not is_record and event in line):
                return record
        raise AssertionError(f"the node ended without {event!r}: {self.log}")

    def run(self, *arguments: str, stdin: str = "", service: str = "") -> Outcome:
        """Run a command that asks this node, in this process; `service` is one of several."""
        line = [*arguments, "--data", str(self.data / service)]
        out, err, before = StringIO(), StringIO(), sys.stdin
        sys.stdin = StringIO(stdin)
        try:
            with redirect_stdout(out), redirect_stderr(err):
                code = run(line)
        finally:
            sys.stdin = before
        return Outcome(code, out.getvalue(), err.getvalue())

    def first_line(self, *arguments: str) -> str:
        """Run a command that does not end by itself; interrupt it when it has said something."""
        line = [sys.executable, "-m", "eventmill.cli", *arguments, "--data", str(self.data)]
        with subprocess.Popen(
            line, env=environment(), stdout=subprocess.PIPE, text=True, preexec_fn=hear_signals
        ) as process:
            assert process.stdout is not None
            said = process.stdout.readline()
            process.send_signal(signal.SIGINT)
            assert process.wait(SECONDS) == 130
        return said

    def json(self, *arguments: str) -> Any:
        """Run a command that asks this node; return its JSON."""
        return self.run(*arguments, "--output", "json").json()

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to stop; return its exit code."""
        self.process.send_signal(number)
        return self.process.wait(SECONDS)

    def until(self, arguments: tuple[str, ...], condition: Callable[[Any], bool]) -> Any:
        """Ask again until the answer fits; the test's timeout is the limit."""
        while True:
            answer = self.json(*arguments)
            if condition(answer):
                return answer

    def settled(self, *but: str) -> None:
        """Wait until nobody is behind, but those named."""
        self.until(
            ("consumers", "lag"),
            lambda rows: all(row["lag"] == 0 for row in rows if row["name"] not in but),
        )

    def post_event(self, topic: str, kind: str, data: Any) -> Any:
        """Publish a CloudEvent as a client of the service port."""
        attributes = {"ce-specversion": "1.0", "ce-source": "/tests", "ce-type": kind}
        return self.post(f"/topics/{topic}", data, **attributes, **{"ce-id": str(uuid4())})

    def post(self, path: str, body: Any, **headers: str) -> Any:
        """Post JSON to the service port."""
        request = urllib.request.Request(
            self.url + path,
            json.dumps(body).encode(),
            {"content-type": "application/json", **headers},
            method="POST",
        )
        with urllib.request.urlopen(request, timeout=SECONDS) as response:
            return json.loads(response.read())


def environment() -> dict[str, str]:
    """This environment without settings that would change what commands do."""
    kept = {name: v for name, v in os.environ.items() if not name.startswith("EVENTMILL_")}
    return {**kept, "PYTHONUNBUFFERED": "1", "NO_COLOR": "1"}
