"""What the figures were measured on, for the report."""

from __future__ import annotations

import os
import platform
import resource
import statistics
import subprocess
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import apsw

SYNCS = 200
PAGE_BYTES = 4096


def describe(disk: Path) -> dict[str, str]:
    """Return the machine, its disk's sync time and the versions of what ran, in reading order."""
    return {
        "processor": f"{processor()}, {os.cpu_count()} cores",
        "memory": f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.1f} GiB",
        "kernel": f"{platform.system()} {platform.release()}",
        "disk": f"{file_system(disk)}, 4 KiB write + fdatasync: {sync_ms(disk):.2f} ms (median)",
        "load before the run": " ".join(f"{load:.2f}" for load in os.getloadavg()),
        "python": platform.python_version(),
        "eventmill": f"{version('eventmill')}, commit {commit()}",
        "sqlite": f"{apsw.sqlite_lib_version()} (apsw {version('apsw')})",
        "server": f"granian {version('granian')}, uvloop {version('uvloop')}",
    }


class Effort(NamedTuple):
    """Processor time in seconds since start: of the whole machine, and of this run's processes."""

    clock: float
    machine: float
    own: float


def effort() -> Effort:
    """Read the counters; processes that were started here count once they have ended."""
    fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    idle = {3, 4, 8, 9}  # idle, iowait; guest times are in user and nice already
    ticks = sum(int(value) for index, value in enumerate(fields) if index not in idle)
    own = sum(
        usage.ru_utime + usage.ru_stime
        for usage in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )
    return Effort(time.monotonic(), ticks / os.sysconf("SC_CLK_TCK"), own)


def others_percent(before: Effort, after: Effort) -> int:
    """Return the share of the machine that processes outside this run took in between."""
    others = (after.machine - before.machine) - (after.own - before.own)
    available = (after.clock - before.clock) * (os.cpu_count() or 1)
    return max(0, round(100 * others / available))


def processor() -> str:
    """Return the processor's model name."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def file_system(path: Path) -> str:
    """Return the type of the file system that holds a path."""
    best, kind = "", "unknown"
    for line in Path("/proc/mounts").read_text().splitlines():
        _, mount, found, *_ = line.split()
        if str(path.resolve()).startswith(mount) and len(mount) >= len(best):
            best, kind = mount, found
    return kind


def sync_ms(folder: Path) -> float:
    """Return the median time of appending a page and waiting for the disk, in milliseconds."""
    durations = []
    with tempfile.TemporaryFile(dir=folder) as file:
        for _ in range(SYNCS):
            begin = time.perf_counter()
            file.write(b"\0" * PAGE_BYTES)
            file.flush()
            os.fdatasync(file.fileno())
            durations.append(time.perf_counter() - begin)
    return statistics.median(durations) * 1000


def commit() -> str:
    """Return the commit that is checked out, marked if the tree differs from it."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=10"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"
