"""`eventmill doctor`: examine this machine, a data directory, and the servers of a shared store."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import click

from eventmill.cli.surface import options
from eventmill.cli.surface.client import ANNOUNCEMENT, Client
from eventmill.cli.surface.exits import REFUSED, Failure
from eventmill.cli.surface.output import counted, show_json
from eventmill.errors import ConfigurationError, EventmillError
from eventmill.model.finding import Finding
from eventmill.node import examining, offline, sockets
from eventmill.node.config import NodeConfig

FREE_BYTES_NEEDED = 1 << 30
LOG_BYTES_USUAL = 256 << 20
"""A larger write-ahead log means that a reader has kept it from being folded in."""
LIBRARIES = ("apsw", "granian", "msgspec", "uvloop", "sqlglot", "starlette")


@click.command()
@options.data
@options.store
@options.broker
@options.output
@click.option("--thorough", is_flag=True, help="Read every page and compare every index.")
@click.option("--port", type=click.IntRange(1, 65_535), default=NodeConfig().port)
def command(data: Path, store: str, broker: str, output: str, thorough: bool, port: int) -> int:
    """Examine this machine and a data directory; exits with 1 if something fails.

    With --store and --broker, the servers: whether they answer, and what a node may do there.
    """
    findings = list(_machine())
    findings += examining.store(store) if store else _data(data, thorough)
    findings += examining.broker(broker) if broker else ()
    findings += [_space(data), *_node(data), _port(data, port)]
    if output == "json":
        show_json([finding._asdict() for finding in findings])
    else:
        _show(findings)
    return REFUSED if any(finding.status == "fail" for finding in findings) else 0


def _machine() -> Iterator[Finding]:
    supported = sys.version_info >= (3, 11)
    yield Finding(
        "python",
        "ok" if supported else "fail",
        f"{platform.python_version()}, {platform.platform()}",
    )
    yield Finding("eventmill", "ok", version("eventmill"))
    found, missing = [], []
    for name in LIBRARIES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            missing.append(name)
    if missing:
        text = f"missing: {', '.join(missing)}; install eventmill again"
        needed = any(name != "uvloop" for name in missing)
        yield Finding("libraries", "fail" if needed else "warn", text)
    else:
        yield Finding("libraries", "ok", ", ".join(found))
    cores = os.cpu_count() or 1
    yield Finding("processors", "ok" if cores > 1 else "warn", counted(cores, "core"))


def _data(data: Path, thorough: bool) -> Iterator[Finding]:
    try:
        health = offline.health(data, thorough=thorough)
    except (EventmillError, OSError) as error:
        yield Finding("data file", "fail", str(error))
        return
    recent = tuple(map(int, health.sqlite_version.split("."))) >= offline.SQLITE_NEEDED
    yield Finding("sqlite", "ok" if recent else "fail", f"{health.sqlite_version}, through apsw")
    if not health.exists and health.holder:
        text = f"none in {data}, which {health.holder} has: its store is elsewhere; give --store"
        yield Finding("data file", "warn", text)
        return
    if not health.exists:
        yield Finding("data file", "ok", f"none in {data}: made at the first start")
        return
    if health.schema_version == offline.SCHEMA_VERSION:
        yield Finding("schema", "ok", f"version {health.schema_version}")
    else:
        text = f"version {health.schema_version}; this code needs {offline.SCHEMA_VERSION}"
        yield Finding("schema", "fail", text)
    size = f"{_size(health.bytes)}, {counted(health.position, 'position')}"
    yield Finding("data file", "ok", size)
    large = health.log_bytes > LOG_BYTES_USUAL
    advice = "; a long read may keep it from shrinking" if large else ""
    yield Finding("log", "warn" if large else "ok", _size(health.log_bytes) + advice)
    how = "every page and index" if thorough else "every page (--thorough: indexes too)"
    if health.damage:
        text = f"{'; '.join(health.damage)}: restore a backup or an export"
        yield Finding("integrity", "fail", text)
    else:
        yield Finding("integrity", "ok", how)
    yield Finding("lock", "ok", f"held by {health.holder}" if health.holder else "free")


def _space(data: Path) -> Finding:
    place = next((p for p in (data, *data.absolute().parents) if p.exists()), Path("/"))
    if not os.access(place, os.W_OK):
        return Finding("disk", "fail", f"{place} cannot be written by this user")
    free = shutil.disk_usage(place).free
    status: Literal["ok", "warn"] = "ok" if free >= FREE_BYTES_NEEDED else "warn"
    return Finding("disk", status, f"{_size(free)} free at {place}")


def _node(data: Path) -> Iterator[Finding]:
    if not (data / ANNOUNCEMENT).exists():
        yield Finding("node", "ok", "not running")
        return
    try:
        client = Client(data, None)
        facts, consumers = client.get("/"), client.get("/consumers")
    except Failure as error:
        text = f"{error.message}; it ended without a stop, which the next start mends"
        yield Finding("node", "warn", text)
        return
    healthy = facts["ready"] and not facts["failures"]
    yield Finding("node", "ok" if healthy else "fail", f"{facts['service']} at {facts['url']}")
    late = [f"{c['name']} is paused" for c in consumers if c["paused"]]
    late += [f"{c['name']} has {counted(c['dead'], 'dead letter')}" for c in consumers if c["dead"]]
    yield Finding("consumers", "warn" if late else "ok", ", ".join(late) or "all running")


def _port(data: Path, port: int) -> Finding:
    try:
        sockets.try_port("127.0.0.1", port, "--port")
    except ConfigurationError:
        if _serves(data, port):
            return Finding("port", "ok", f"{port} is that of the node that runs on {data}")
        text = f"{port} is taken by something else: run with --port, or free it"
        return Finding("port", "warn", text)
    return Finding("port", "ok", f"{port} is free")


def _serves(data: Path, port: int) -> bool:
    """Whether a node runs on the directory and has the port."""
    try:
        url: str = Client(data, None).get("/")["url"]
        return urlsplit(url).port == port
    except Failure:
        return False


def _show(findings: list[Finding]) -> None:
    marks = {"ok": ("ok", "green"), "warn": ("warn", "yellow"), "fail": ("FAIL", "red")}
    for finding in findings:
        mark, color = marks[finding.status]
        label = click.style(mark.ljust(4), fg=color, bold=True)
        click.echo(f"{label}  {finding.name.ljust(10)}  {finding.text}")


def _size(number: float) -> str:
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if number < 1024:
            return f"{number:,.0f} {unit}" if unit == "bytes" else f"{number:,.1f} {unit}"
        number /= 1024
    return f"{number:,.1f} TiB"
