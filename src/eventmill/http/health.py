"""`/health/live` and `/health/ready`: whether to restart this node, whether to send it requests.

Live: the loop answers. Ready: the node was started and is not stopping, no loop ended by an error,
it is sure to hold its shards, and the store writes. After a failed commit the store is asked by a small commit of its own, so a
node that gets no requests because it is not ready still notices that space has returned.
"""

from __future__ import annotations

import asyncio
from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from eventmill.errors import EventmillError, described
from eventmill.model.commit import Commit
from eventmill.runtime.committer import Batch
from eventmill.runtime.runtime import Runtime

PROBE: Final = "probe"
"""Name of the durable fact that a probe writes."""

PROBE_SECONDS: Final = 2.0
"""How long a probe may wait for the disk: shorter than the usual timeout of an orchestrator's."""


class Health:
    """Watches one runtime."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._writes = True
        runtime.committer.on_commit.append(self._committed)
        runtime.committer.on_failure.append(self._failed)

    async def live(self, request: Request) -> Response:
        """Answer `GET /health/live`."""
        return JSONResponse({"live": True})

    async def ready(self, request: Request) -> Response:
        """Answer `GET /health/ready`: 200 or 503, with the reasons."""
        problems = await self.problems()
        return JSONResponse(
            {"ready": not problems, "problems": problems},
            503 if problems else 200,
            {"cache-control": "no-store"},
        )

    async def problems(self) -> list[str]:
        """Say why requests should go elsewhere; empty when they should not."""
        runtime = self._runtime
        problems = [
            f"loop {name!r} ended: {described(error)}"
            for name, error in runtime.supervisor.failures.items()
        ]
        if not runtime.ready:
            problems.append("the node is starting or stopping")
        elif not problems and not self._writes:
            problems += await self._probed()
        elif runtime.peers is not None and runtime.peers.cluster.has_expired():
            problems.append("the store does not answer: other nodes take this node's shards")
        return problems

    async def _probed(self) -> list[str]:
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                fact = {PROBE: str(self._runtime.clock.now()).encode()}
                await self._runtime.committer.write(lambda commit: commit.registry.update(fact))
        except EventmillError as error:
            return [f"the store cannot write: {error.message}"]
        except TimeoutError:
            return [f"the store did not write within {PROBE_SECONDS} seconds"]
        return []

    def _committed(self, commit: Commit) -> None:
        self._writes = True

    def _failed(self, batch: Batch) -> None:
        self._writes = False
