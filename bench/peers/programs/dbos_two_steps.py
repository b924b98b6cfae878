"""A workflow of two steps with DBOS on SQLite, many in flight, in process.

Run by the peer's own interpreter with a JSON object: `folder`, `seconds`, `in_flight`. Prints the sample as
one line of JSON.
"""

import asyncio
import json
import sqlite3
import sys
import time
from pathlib import Path

from dbos import DBOS

WARM_UP_SECONDS = 2.0


@DBOS.step()
async def one(number: int) -> int:
    return number + 1


@DBOS.step()
async def two(number: int) -> int:
    return number + 1


@DBOS.workflow()
async def two_steps(number: int) -> int:
    return await two(await one(number))


async def main() -> None:
    task = json.loads(sys.argv[1])
    file = Path(task["folder"]) / "dbos.sqlite"
    DBOS(config={"name": "bench", "system_database_url": f"sqlite:///{file}", "log_level": "ERROR"})
    DBOS.launch()
    try:
        await measure(WARM_UP_SECONDS, task["in_flight"])
        durations, elapsed = await measure(task["seconds"], task["in_flight"])
    finally:
        DBOS.destroy()
    with sqlite3.connect(file) as connection:
        journal = connection.execute("PRAGMA journal_mode").fetchone()[0]
        (ended,) = connection.execute(
            "SELECT count(*) FROM workflow_status WHERE status = 'SUCCESS'"
        ).fetchone()
    assert ended >= len(durations), "not all of them are durable"
    durations.sort()
    p50, p95, p99 = (durations[int(len(durations) * q)] * 1000 for q in (0.5, 0.95, 0.99))
    sample = {
        "per_second": len(durations) / elapsed,
        "latency": {"p50": round(p50, 3), "p95": round(p95, 3), "p99": round(p99, 3)},
        "notes": {"workflows": len(durations), "journal_mode": journal},
    }
    print(json.dumps(sample))


async def measure(seconds: float, in_flight: int) -> tuple[list[float], float]:
    """Run workflows for that long; return the duration of each, and of all."""
    durations: list[float] = []
    begin = time.perf_counter()

    async def caller() -> None:
        while time.perf_counter() - begin < seconds:
            start = time.perf_counter()
            assert await two_steps(1) == 3
            durations.append(time.perf_counter() - start)

    await asyncio.gather(*(caller() for _ in range(in_flight)))
    return durations, time.perf_counter() - begin


if __name__ == "__main__":
    asyncio.run(main())
