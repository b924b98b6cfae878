"""The load generator of the HTTP rows: `wrk`, one thread, 64 connections, 1,000 carts."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import msgspec

from bench.environments import CannotMeasure, run
from bench.figures import Latency, Sample

CONNECTIONS = 64
WARM_UP_SECONDS = 3
SCRIPT = Path(__file__).with_name("wrk.lua")


class Seen(msgspec.Struct):
    """What the script's `done` prints."""

    requests: int
    microseconds: int
    failed: int
    broken: int
    p50: float
    p95: float
    p99: float


def load(base: str, seconds: float, *, before: str, after: str) -> Sample:
    """Warm up, then load `base + before + cart + after` with POSTs and return what wrk saw.

    Raises:
        CannotMeasure: a request failed, so the rate would not be that of the work.
    """
    shoot(base, WARM_UP_SECONDS, before, after)
    seen = shoot(base, max(1, round(seconds)), before, after)
    if seen.failed or seen.broken:
        raise CannotMeasure(
            f"of {seen.requests} requests {seen.failed} were refused and {seen.broken} broke off"
        )
    return Sample(
        per_second=seen.requests / (seen.microseconds / 1e6),
        latency=Latency(seen.p50, seen.p95, seen.p99),
        notes={"requests": seen.requests, "refused": seen.failed},
    )


def shoot(base: str, seconds: int, before: str, after: str) -> Seen:
    """Run wrk once."""
    wrk = [client(), "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "-s", str(SCRIPT)]
    printed = run([*wrk, base, "--", before, after])
    line = next(line for line in printed.splitlines() if line.startswith("{"))
    return msgspec.json.decode(line, type=Seen)


def client() -> str:
    """Return the path of wrk, installing Debian's package when that is possible.

    Raises:
        CannotMeasure: it is missing and cannot be installed by this user.
    """
    if found := shutil.which("wrk"):
        return found
    if os.geteuid() == 0 and shutil.which("apt-get"):
        run(["apt-get", "update", "-qq"])
        run(["apt-get", "install", "-y", "-qq", "wrk"])
        if found := shutil.which("wrk"):
            return found
    raise CannotMeasure("wrk is missing: install it first, on Debian with `apt-get install wrk`")
