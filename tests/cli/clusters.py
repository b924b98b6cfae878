"""Running `eventmill dev cluster` as a developer does, and talking to its nodes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Self
from uuid import uuid4

from eventmill.node.servers.parent import start_bound
from tests.cli.commands import PROJECT, SECONDS, environment


class RunningCluster:
    """`dev cluster` in a process of its own."""

    def __init__(self, data: Path, *targets: str, nodes: int = 2) -> None:
        self.data = data
        line = [sys.executable, "-m", "eventmill.cli", "dev", "cluster", *targets]
        self.process = start_bound(
            [*line, "--nodes", str(nodes), "--data", str(data), "--log", "json"],
            signal.SIGTERM,
            cwd=PROJECT,
            env=environment(),
            stderr=subprocess.PIPE,
            text=True,
        )
        self.log: list[dict[str, Any]] = []
        self.facts: dict[str, Any] = {}

    def __enter__(self) -> Self:
        self.facts = self.wait_for("cluster started")
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.terminate()
        self.process.wait(SECONDS)
        assert self.process.stderr is not None
        self.process.stderr.close()

    def wait_for(self, event: str) -> dict[str, Any]:
        """Read the log until a record says so."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.log.append(json.loads(line) if line.startswith("{") else {"event": line})
            if self.log[-1]["event"] == event:
                return self.log[-1]
        raise AssertionError(f"it ended without {event!r}: {self.log}")

    def node(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = next(n for n in self.facts["nodes"] if n["node"] == name)
        return found

    def deposit(self, node: str, account: str, amount: int) -> int:
        """Deposit, as often as the node says "later", with one effect."""
        key = uuid4().hex
        give_up = time.monotonic() + SECONDS
        while True:
            try:
                return self._deposit(node, account, amount, key)
            except urllib.error.HTTPError as error:
                error.close()
                if error.code != 503 or time.monotonic() > give_up:
                    raise

    def _deposit(self, node: str, account: str, amount: int, key: str) -> int:
        request = urllib.request.Request(
            f"{self.node(node)['url']}/components/account/{account}/deposit",
            json.dumps({"amount": amount}).encode(),
            {"content-type": "application/json", "idempotency-key": key},
        )
        with urllib.request.urlopen(request, timeout=SECONDS) as response:
            return int(json.loads(response.read()))
