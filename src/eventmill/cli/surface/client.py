"""Speaking with a running node: its operating surface, and its service port for the rest.

The node is found by its data directory, where it wrote `node.json`, or by the address of its
operating surface. The standard library's client is enough here and starts fast.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from eventmill.cli.surface.exits import REFUSED, UNREACHABLE, Failure

TIMEOUT_SECONDS = 60.0
"""Longer than a handler may take: a redrive waits for the retry that is under way."""

ANNOUNCEMENT = "node.json"


class Client:
    """Asks one node."""

    def __init__(self, data: Path, url: str | None) -> None:
        self._data = data
        self._given = url is not None
        self._admin = url.rstrip("/") if url else _announced(data)

    def get(self, path: str, /, **query: Any) -> Any:
        """Ask the operating surface.

        Raises `Failure`.
        """
        return self._asked("GET", path, query, None, {})

    def pages(
        self, path: str, *, limit: int, last: str, after: Any, **query: Any
    ) -> list[dict[str, Any]]:
        """Get up to `limit` rows in as many pages as the node makes of them; the next one goes on
        after what the last row has as `last`."""
        rows: list[dict[str, Any]] = []
        while len(rows) < limit:
            page = self.get(path, after=after, limit=limit - len(rows), **query)
            if not page:
                break
            rows += page
            after = page[-1][last]
        return rows

    def post(self, path: str, body: Any = None, **query: Any) -> Any:
        """Let the operating surface do something."""
        return self._asked("POST", path, query, body, {})

    def call(self, path: str, body: Any, key: str | None, **query: Any) -> Any:
        """Run a command, with an idempotency key if there is one."""
        headers = {"idempotency-key": key} if key else {}
        return self._asked("POST", path, query, body, headers)

    def service(self, method: str, path: str, body: Any = None) -> Any:
        """Ask the node's service port."""
        return _ask(self.get("/")["url"], method, path, {}, body, {})

    def events(self, path: str, texts: dict[str, Any]) -> Iterator[Any]:
        """Follow a stream of the node's service port; yields the data of its events.

        Raises `Failure`, also when it ends.
        """
        yield from _events(self.get("/")["url"], path, texts)

    def _asked(self, method: str, path: str, query: Any, body: Any, headers: Any) -> Any:
        try:
            return _ask(self._admin, method, path, query, body, headers)
        except Failure as failure:
            if self._given and failure.code == REFUSED and not _operates(self._admin):
                raise Failure(
                    f"{self._admin} is not the operating surface of a node, it may be its service "
                    "port: `eventmill run` shows the right address as `admin`, or let --data "
                    "DIR find it"
                ) from failure
            raise


def _announced(data: Path) -> str:
    try:
        url: str = json.loads((data / ANNOUNCEMENT).read_bytes())["admin_url"]
    except FileNotFoundError:
        several = sorted(str(file.parent) for file in data.glob(f"*/{ANNOUNCEMENT}"))
        if several:
            told = f"several services run in {data}: name one with --data {' or '.join(several)}"
        else:
            told = (
                f"no node runs on the data directory {data}: start one with `eventmill run`, or "
                "name another directory with --data, or the operating surface's address with --url"
            )
        raise Failure(told, UNREACHABLE) from None
    except (ValueError, KeyError, OSError) as error:
        raise Failure(f"{data / ANNOUNCEMENT} cannot be read: {error}", UNREACHABLE) from None
    return url


def _operates(url: str) -> bool:
    """Whether an operating surface answers there: its front page names itself."""
    try:
        facts = _ask(url, "GET", "/", {}, None, {})
    except Failure:
        return False
    return isinstance(facts, dict) and "admin_url" in facts


def _events(base: str, path: str, texts: dict[str, Any]) -> Iterator[Any]:
    target = path + (f"?{urlencode(texts, doseq=True)}" if texts else "")
    connection, what = _connected(base), f"GET {base}{path}"
    try:
        connection.request("GET", target, headers={"accept": "text/event-stream"})
        response = connection.getresponse()
        if response.status >= 300:
            _answer_of(response.status, response.read(), what)
        event = ""
        for line in response:
            name, _, value = line.decode().rstrip("\n").partition(": ")
            if name == "event":
                event = value
            elif name == "data" and event == "problem":
                _answer_of(500, value.encode(), what)
            elif name == "data":
                yield json.loads(value)
    except (OSError, http.client.HTTPException) as error:
        raise Failure(f"{what} broke off ({_reason(error)})", UNREACHABLE) from None
    finally:
        connection.close()
    raise Failure("the node has ended the stream: ask again", UNREACHABLE)


def _connected(base: str) -> http.client.HTTPConnection:
    parts = urlsplit(base)
    if parts.scheme != "http" or not parts.hostname:
        raise Failure(f"{base!r} is no address: use http://host:port")
    return http.client.HTTPConnection(parts.hostname, parts.port, timeout=TIMEOUT_SECONDS)


def _ask(
    base: str, method: str, path: str, query: dict[str, Any], body: Any, headers: dict[str, str]
) -> Any:
    connection = _connected(base)
    given = {name: value for name, value in query.items() if value is not None}
    target = path + (f"?{urlencode(given, doseq=True)}" if given else "")
    content = None if method == "GET" else json.dumps({} if body is None else body)
    headers = {"content-type": "application/json", "accept": "application/json", **headers}
    try:
        connection.request(method, target, content, headers)
        response = connection.getresponse()
        answer = response.read()
    except (OSError, http.client.HTTPException) as error:
        raise Failure(
            f"the node at {base} does not answer ({_reason(error)}): is it running?", UNREACHABLE
        ) from None
    finally:
        connection.close()
    return _answer_of(response.status, answer, f"{method} {base}{path}")


def _answer_of(status: int, answer: bytes, what: str) -> Any:
    try:
        decoded = json.loads(answer) if answer else None
    except ValueError:
        raise Failure(f"{what} answered {status} with something that is no JSON") from None
    if status < 400:
        return decoded
    problem = decoded if isinstance(decoded, dict) else {}
    text = problem.get("detail") or problem.get("title") or f"{what} answered {status}"
    code = problem.get("code")
    message = f"{text} [{code}]" if code else text
    raise Failure(message, REFUSED, details=problem.get("details"))


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
