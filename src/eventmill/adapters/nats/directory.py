"""The directory port on NATS' own protocol for services: `nats micro list` shows our nodes too.

Every instance answers `$SRV.PING|INFO|STATS`, with `.<name>` and `.<name>.<id>` behind it. Names may
hold fewer characters there than ours: what does not fit is replaced, and ours are in the metadata.
https://github.com/nats-io/nats-architecture-and-design/blob/main/adr/ADR-32.md
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from eventmill.adapters.nats import wire
from eventmill.adapters.nats.connection import Connection
from eventmill.adapters.nats.subjects import token
from eventmill.adapters.nats.transport import QUEUE, Transport
from eventmill.errors import Unavailable
from eventmill.model import limits
from eventmill.ports.directory import Counts, Endpoint, Instance

QUIET_SECONDS: Final = 0.25
"""After so long without another answer nobody is expected to answer any more."""
FIND_SECONDS: Final = 2.0

_TYPE: Final = "io.nats.micro.v1."
_SERVICE: Final = "eventmill.service"
"""Metadata: our name of the service; who has none is no service of ours."""
_ADDRESS: Final = "eventmill.address"
_NAME: Final = "eventmill.name"
_UNFIT: Final = re.compile(r"[^A-Za-z0-9_-]")


class Directory:
    """One node's view, on its transport's connection."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._asked: list[str] = []
        """Subjects on which this node answers."""

    async def announce(self, instance: Instance, counts: Callable[[], Counts]) -> None:
        about = self._about(instance)
        started = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        answers: dict[str, Callable[[], dict[str, Any]]] = {
            "PING": lambda: {**about, "type": f"{_TYPE}ping_response"},
            "INFO": lambda: self._info(about, instance),
            "STATS": lambda: self._stats(about, instance, started, counts()),
        }
        for verb, answer in answers.items():
            for subject in _subjects(verb, about["name"], about["id"]):
                await self._connection.subscribe(subject, self._answering(answer))
                self._asked.append(subject)
        await self._connection.settle()

    async def withdraw(self) -> None:
        while self._asked:
            await self._connection.unsubscribe(self._asked.pop())

    async def find(self, service: str = "") -> list[Instance]:
        inbox = self._connection.inbox("directory")
        answers: asyncio.Queue[bytes] = asyncio.Queue(limits.INSTANCES_MAX)

        def hear(subject: str, reply: str, payload: bytes, headers: bytes | None) -> None:
            with contextlib.suppress(asyncio.QueueFull):
                answers.put_nowait(payload)

        await self._connection.subscribe(inbox, hear)
        try:
            subject = _subjects("INFO", _fitting(service) if service else "")[-1]
            self._connection.post(wire.publish(subject, b"", reply=inbox))
            found = [instance async for body in _until_quiet(answers) if (instance := _read(body))]
        finally:
            await self._connection.unsubscribe(inbox)
        ours = [instance for instance in found if service in ("", instance.service)]
        return sorted(ours, key=lambda instance: (instance.service, instance.id))

    @property
    def _connection(self) -> Connection:
        return self._transport.connection

    def _answering(
        self, answer: Callable[[], dict[str, Any]]
    ) -> Callable[[str, str, bytes, bytes | None], None]:
        def tell(subject: str, reply: str, payload: bytes, headers: bytes | None) -> None:
            if reply:
                with contextlib.suppress(Unavailable):  # whoever asked is gone too
                    self._connection.post(wire.publish(reply, msgspec.json.encode(answer())))

        return tell

    def _about(self, instance: Instance) -> dict[str, Any]:
        return {
            "name": _fitting(instance.service),
            "id": token(instance.id),
            "version": instance.version,
            "metadata": {**instance.metadata, _SERVICE: instance.service, _NAME: instance.id},
        }

    def _info(self, about: dict[str, Any], instance: Instance) -> dict[str, Any]:
        return {
            **about,
            "type": f"{_TYPE}info_response",
            "description": f"{instance.service} on Eventmill",
            "endpoints": [
                {**self._place(e), "metadata": {**e.metadata, _NAME: e.name, _ADDRESS: e.address}}
                for e in instance.endpoints
            ],
        }

    def _stats(
        self, about: dict[str, Any], instance: Instance, started: str, counts: Counts
    ) -> dict[str, Any]:
        nanoseconds = round(counts.seconds * 1e9)
        figures = {
            "num_requests": counts.requests,
            "num_errors": counts.errors,
            "last_error": "",
            "processing_time": nanoseconds,
            "average_processing_time": nanoseconds // max(1, counts.requests),
        }
        # Counted per service: its components share one subject, the first endpoint's.
        none = dict.fromkeys(figures, 0) | {"last_error": ""}
        return {
            **about,
            "type": f"{_TYPE}stats_response",
            "started": started,
            "endpoints": [
                {**self._place(endpoint), **(none if number else figures)}
                for number, endpoint in enumerate(instance.endpoints)
            ],
        }

    def _place(self, endpoint: Endpoint) -> dict[str, str]:
        return {
            "name": _fitting(endpoint.name),
            "subject": self._transport.subject(endpoint.address),
            "queue_group": QUEUE,
        }


def _subjects(verb: str, *names: str) -> list[str]:
    """Return the subjects that ask everybody, everybody of a name, one of them; empty ones not."""
    parts = ["$SRV", verb, *filter(None, names)]
    return [".".join(parts[:length]) for length in range(2, len(parts) + 1)]


def _fitting(name: str) -> str:
    return _UNFIT.sub("_", name)


async def _until_quiet(answers: asyncio.Queue[bytes]) -> Any:
    """Yield answers until nobody answers any more; an empty one says that there is nobody."""
    loop = asyncio.get_running_loop()
    end = loop.time() + FIND_SECONDS
    wait = FIND_SECONDS
    with contextlib.suppress(TimeoutError):
        while (left := end - loop.time()) > 0:
            async with asyncio.timeout(min(wait, left)):
                body = await answers.get()
            if not body:
                return
            yield body
            wait = QUIET_SECONDS


class _Endpoint(msgspec.Struct):
    name: str
    metadata: dict[str, str] = {}


class _Info(msgspec.Struct):
    id: str
    version: str
    metadata: dict[str, str] = {}
    endpoints: list[_Endpoint] = []


def _read(body: bytes) -> Instance | None:
    """Read an answer; None if it is no service of ours."""
    try:
        info = msgspec.json.decode(body, type=_Info)
    except msgspec.DecodeError:
        return None
    metadata = dict(info.metadata or {})
    service = metadata.pop(_SERVICE, "")
    if not service:
        return None
    id = metadata.pop(_NAME, info.id)
    return Instance(service, id, info.version, metadata, [_endpoint(e) for e in info.endpoints])


def _endpoint(found: _Endpoint) -> Endpoint:
    metadata = dict(found.metadata)
    name = metadata.pop(_NAME, found.name)
    return Endpoint(name, metadata.pop(_ADDRESS, ""), metadata)
