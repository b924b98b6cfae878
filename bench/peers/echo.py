"""uvicorn (httptools, uvloop, one worker, no access log) with a Starlette handler that echoes JSON.

The upper end of what an asyncio HTTP stack does when there is nothing to decide or to keep.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench import wrk
from bench.environments import python_environment, versions
from bench.figures import Contestant, Sample
from bench.processes import answers, free_port, resident_mb, running

if TYPE_CHECKING:
    from pathlib import Path

SYSTEM = "uvicorn + Starlette, echo only"
REQUIREMENTS = ("uvicorn==0.54.0", "httptools==0.9.0", "uvloop==0.23.0", "starlette==1.10.0")
PROGRAMS = "bench/peers/programs"
BEFORE, AFTER = "/components/cart/", "/add_item"


def measure(folder: Path, seconds: float) -> Sample:
    """Serve and load it."""
    python = python_environment("echo", *REQUIREMENTS)
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [str(python), "-m", "uvicorn", "echo:app", "--app-dir", PROGRAMS]
    command += ["--port", str(port), "--loop", "uvloop", "--http", "httptools"]
    command += ["--workers", "1", "--no-access-log", "--log-level", "warning"]
    ready = answers(f"{url}{BEFORE}c{AFTER}", b"{}")
    with running(command, ready, log=folder / "echo.log") as pid:
        sample = wrk.load(url, seconds, before=BEFORE, after=AFTER)
        notes = {
            **sample.notes,
            "resident_mb": resident_mb(pid),
            "versions": versions(python, "uvicorn", "starlette", "httptools", "uvloop"),
        }
    return Sample(sample.per_second, sample.latency, notes)


CONTESTANT = Contestant(
    system=SYSTEM,
    conditions="one worker, httptools, uvloop, access log off; nothing kept",
    measure=measure,
)
