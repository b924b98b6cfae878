"""A node of the flights service in a process of its own, and what the demo asks of it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

SERVICE = "examples.flights.service:service"
ROOT = Path(__file__).parents[2]

START_SECONDS = 180.0
"""A first start compiles everything that it imports, maybe on a machine that does other things."""
STOP_SECONDS = 60.0
LOOK_SECONDS = 0.1
LETTERS_AT_ONCE = 1_000


class Node:
    """A running node: its two addresses, and the process."""

    def __init__(
        self, process: asyncio.subprocess.Process, session: aiohttp.ClientSession, log: Path
    ) -> None:
        self.process = process
        self.session = session
        self.log = log
        self.url = ""
        self.admin_url = ""

    async def publish(self, topic: str, batch: list[Any]) -> int:
        """Send a batch of CloudEvents; return how many the node had not seen before.

        A node that is too busy is asked again when it says so: it knows the events by their ids.
        """
        body = msgspec.json.encode(batch)
        headers = {"content-type": "application/cloudevents-batch+json"}
        while True:
            url = f"{self.url}/topics/{topic}"
            async with self.session.post(url, data=body, headers=headers) as answer:
                if answer.status not in (429, 503):
                    accepted: int = (await answered(answer))["accepted"]
                    return accepted
                wait = float(answer.headers.get("retry-after", "1"))
            await asyncio.sleep(wait)

    async def rows(self, view: str, query: str, **parameters: Any) -> list[Any]:
        """Return the rows of a view's query."""
        url = f"{self.url}/views/{view}/{query}"
        headers = {"accept": "application/x-ndjson"}
        async with self.session.get(url, params=parameters, headers=headers) as answer:
            await check(answer)
            return [msgspec.json.decode(line) async for line in answer.content]

    async def progress(self) -> tuple[int, int]:
        """Return the journal's length, and how much of it everybody has handled.

        They are equal when consumers and views have done all but dead letters.
        """
        self.check_alive()
        async with self.session.get(f"{self.admin_url}/consumers") as answer:
            consumers = await answered(answer)
        behind = max(c["lag"] + c["blocked"] - c["dead"] for c in consumers)
        end = consumers[0]["end"]
        return end, end - behind

    async def letters(self, status: str) -> list[Any]:
        """Return the letters of a status: `dead`, or `waiting` behind one that is."""
        found: list[Any] = []
        while True:
            parameters = {"status": status, "limit": str(LETTERS_AT_ONCE)}
            if found:
                parameters["after"] = found[-1]["id"]
            url = f"{self.admin_url}/dead-letters"
            async with self.session.get(url, params=parameters) as answer:
                page = await answered(answer)
            found += page
            if len(page) < LETTERS_AT_ONCE:
                return found

    async def discard(self, subscription: str) -> int:
        """Discard all dead letters of a subscription; return how many."""
        url = f"{self.admin_url}/dead-letters/discard"
        async with self.session.post(url, json={"subscription": subscription}) as answer:
            discarded: int = (await answered(answer))["discarded"]
            return discarded

    def check_alive(self) -> None:
        """Raise `RuntimeError` with the end of its log if the node has ended."""
        if self.process.returncode is not None:
            end = self.log.read_text()[-4_000:]
            raise RuntimeError(f"the node ended with {self.process.returncode}:\n{end}")


async def answered(answer: aiohttp.ClientResponse) -> Any:
    """Return the JSON of an answer.

    Raises `RuntimeError` with the problem if the node refused the request.
    """
    await check(answer)
    return msgspec.json.decode(await answer.read())


async def check(answer: aiohttp.ClientResponse) -> None:
    """Raise `RuntimeError` with the problem if the node refused the request."""
    if answer.status >= 300:
        raise RuntimeError(f"{answer.url}: {answer.status}: {await answer.text()}")


@asynccontextmanager
async def running(folder: Path, *options: str) -> AsyncIterator[Node]:
    """Start a node that keeps its data in `folder`, unless `options` say otherwise; stop it at the
    end."""
    log = folder / "node.log"
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "eventmill.cli", "run", SERVICE),
            *("--data", str(folder / "data"), "--port", "0", *options),
            stdout=output,
            stderr=output,
            cwd=ROOT,
        )
    try:
        async with aiohttp.ClientSession() as session:
            node = Node(process, session, log)
            async with asyncio.timeout(START_SECONDS):
                await _started(node, folder / "data" / "node.json")
            yield node
    finally:
        if process.returncode is None:
            process.terminate()
            try:
                await asyncio.wait_for(process.wait(), STOP_SECONDS)
            except TimeoutError:
                process.kill()
                await process.wait()


async def _started(node: Node, announcement: Path) -> None:
    while (facts := _facts(announcement)) is None:
        node.check_alive()
        await asyncio.sleep(0.02)
    node.url, node.admin_url = facts["url"], facts["admin_url"]


def _facts(announcement: Path) -> Any:
    """Return what the node says of itself once it is ready."""
    return msgspec.json.decode(announcement.read_bytes()) if announcement.exists() else None
