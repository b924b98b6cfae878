"""Restate: its server (npm) in front of a virtual object in its Python SDK, served by Hypercorn.

The server's defaults are kept: the log server's write-ahead log is synced before an answer
(`log-server.rocksdb-disable-wal-fsync = false`, read back here from the server itself); the partition
store is rebuilt from that log. Only addresses, the folder and telemetry are set.
"""

from __future__ import annotations

import tomllib
import urllib.request
from typing import TYPE_CHECKING

from bench import wrk
from bench.environments import CannotMeasure, npm_package, python_environment, run, versions
from bench.figures import Contestant, Sample
from bench.processes import answers, free_port, resident_mb, running

if TYPE_CHECKING:
    from pathlib import Path

SYSTEM = "Restate"
SERVER_VERSION = "1.7.12"
REQUIREMENTS = ("restate-sdk==1.3.0", "hypercorn==0.18.0", "uvloop==0.23.0")
PROGRAMS = "bench/peers/programs"

SETTINGS = """\
base-dir = "{folder}"
listen-mode = "tcp"
bind-address = "127.0.0.1:{fabric}"
disable-telemetry = true
log-filter = "warn"

[ingress]
bind-address = "127.0.0.1:{ingress}"

[admin]
bind-address = "127.0.0.1:{admin}"
"""


def measure(folder: Path, seconds: float) -> Sample:
    """Start both processes, register the object, load the ingress."""
    python = python_environment("restate", *REQUIREMENTS)
    server = server_binary()
    ports = {name: free_port() for name in ("fabric", "ingress", "admin", "service")}
    settings = folder / "restate.toml"
    settings.write_text(SETTINGS.format(folder=folder / "restate-data", **ports))
    hypercorn = [str(python), "-m", "hypercorn", "restate_cart:app", "--workers", "1"]
    hypercorn += ["--worker-class", "uvloop", "--bind", f"127.0.0.1:{ports['service']}"]
    start = [str(server), "--no-logo", "--config-file", str(settings)]
    admin = f"http://127.0.0.1:{ports['admin']}"
    ingress = f"http://127.0.0.1:{ports['ingress']}"
    with (
        running(
            hypercorn,
            answers(f"http://127.0.0.1:{ports['service']}/health"),
            log=folder / "service.log",
            folder=folder.cwd() / PROGRAMS,
        ) as service_pid,
        running(start, answers(f"{admin}/health"), log=folder / "server.log") as server_pid,
    ):
        register(admin, f"http://127.0.0.1:{ports['service']}")
        sample = wrk.load(ingress, seconds, before="/cart/", after="/add_item")
        notes = {
            **sample.notes,
            "server_resident_mb": resident_mb(server_pid),
            "service_resident_mb": resident_mb(service_pid),
            "wal_fsync": wal_fsync(server, settings),
            "versions": f"restate-server {SERVER_VERSION}, "
            + versions(python, "restate-sdk", "hypercorn"),
        }
    return Sample(sample.per_second, sample.latency, notes)


def server_binary() -> Path:
    """Return the server's binary that npm chose for this machine."""
    modules = npm_package("@restatedev/restate-server", SERVER_VERSION)
    for binary in (modules / "@restatedev").glob("restate-server-*/bin/restate-server"):
        return binary
    raise CannotMeasure("npm holds no restate-server for this kind of machine")


def register(admin: str, service: str) -> None:
    """Tell the server where the object is served."""
    body = f'{{"uri": "{service}"}}'.encode()
    headers = {"content-type": "application/json"}
    request = urllib.request.Request(f"{admin}/deployments", data=body, headers=headers)
    with urllib.request.urlopen(request, timeout=30) as response:
        response.read()


def wal_fsync(server: Path, settings: Path) -> bool:
    """Return whether the log server waits for the disk, as the server itself reports its settings."""
    dump = run([str(server), "--no-logo", "--config-file", str(settings), "--dump-config"])
    log_server = tomllib.loads(dump)["log-server"]
    return not log_server["rocksdb-disable-wal-fsync"]


CONTESTANT = Contestant(
    system=SYSTEM,
    conditions=(
        "a virtual object that keeps the items; its ingress; one Hypercorn worker on uvloop; server "
        "defaults (24 partitions, log server's WAL synced: rocksdb-disable-wal-fsync = false)"
    ),
    measure=measure,
)
