"""The engine: the adapters that a node runs on, as its settings say.

SQLite by itself, or PostgreSQL, alone or with other nodes that are met over NATS. The only place
that knows which adapters there are; the drivers of the distributed engine are extras.
"""

from __future__ import annotations

import importlib
import secrets
from collections.abc import Collection
from types import ModuleType
from typing import Any

from eventmill.adapters.memory.directory import Directory as LocalDirectory
from eventmill.adapters.memory.transport import Network
from eventmill.adapters.memory.transport import Transport as LocalTransport
from eventmill.adapters.sqlite.store import Store as SqliteStore
from eventmill.errors import ConfigurationError
from eventmill.node.config import NodeConfig
from eventmill.ports.broker import Broker
from eventmill.ports.clock import Clock
from eventmill.ports.cluster import ALONE
from eventmill.ports.directory import Directory
from eventmill.ports.store import Store
from eventmill.ports.transport import Transport
from eventmill.runtime.cluster.beside import Neighbourhood
from eventmill.runtime.cluster.peers import Membership
from eventmill.runtime.topics.neighbours import Neighbours

POSTGRES = ("postgresql://", "postgres://")


def store_of(config: NodeConfig) -> Store:
    """Return the store that a node shall use, not yet open.

    Raises `ConfigurationError` for a URL of an unknown kind, or a missing extra.
    """
    if not config.store:
        if config.broker:
            raise ConfigurationError(
                "--broker connects nodes of one store: give --store postgresql://… too"
            )
        return SqliteStore(config.data, synchronous=config.synchronous)
    store: Store = postgres("store", config.store).Store(config.store, shards=config.shards)
    return store


def broker_of(config: NodeConfig, clock: Clock, service: str) -> Broker | None:
    """Return what holds the topics of a service, not yet open; None if the store does.

    Raises `ConfigurationError`.
    """
    if config.topics == "broker" and not config.broker:
        raise ConfigurationError("--topics broker needs a --broker nats://…")
    if not config.broker or config.topics == "store":
        return None
    addresses = servers(config.broker)
    broker: Broker = nats("broker").Broker(addresses, clock, service=service, prefix=service)
    return broker


def postgres(module: str, url: str) -> ModuleType | Any:
    """Return a module of the adapter for a store's URL.

    Raises `ConfigurationError` for a URL of an unknown kind, or a missing extra.
    """
    if not url.startswith(POSTGRES):
        kind = url.partition("://")[0][:40]
        raise ConfigurationError(f"--store begins with postgresql://, not with {kind!r}")
    return _extra(f"eventmill.adapters.postgres.{module}", "postgres")


def membership_of(
    config: NodeConfig, service: str, store: Store, clock: Clock
) -> Membership | None:
    """Return what makes the node one of several; None for the embedded engine, which is alone.

    Raises `ConfigurationError`.
    """
    if not config.store:
        return None
    leases = postgres("leases", config.store).Leases(store)
    name = config.node or f"node-{secrets.token_hex(4)}"
    # A name may come back before its lease has ended; who is meant is the process. Several
    # services share a broker: what they say to each other has the service's name in front.
    address = f"{service}/" if config.broker else ALONE
    address += f"{name}-{secrets.token_hex(4)}"
    transport, directory = _neighbourhood(config, name, clock)
    return Membership(name, address, leases, transport, directory, bool(config.broker))


class Surroundings:
    """How the services of one process meet. Parameter: `names` are theirs."""

    def __init__(self, names: Collection[str], clock: Clock) -> None:
        self._network = Network(clock)
        self._neighbours = Neighbours(names)

    def __repr__(self) -> str:
        return f"<Surroundings {self._neighbours!r}>"

    def of(self, service: str) -> Neighbourhood:
        """Return what one of them needs."""
        transport = LocalTransport(self._network, service)
        return Neighbourhood(transport, LocalDirectory(transport), self._neighbours)


def _neighbourhood(config: NodeConfig, name: str, clock: Clock) -> tuple[Transport, Directory]:
    if config.broker:
        return neighbourhood_at(config.broker, name)
    alone = LocalTransport(Network(clock), name)
    return alone, LocalDirectory(alone)


def neighbourhood_at(broker: str, name: str) -> tuple[Transport, Directory]:
    """Return how a node, or a program, of that name meets the nodes at a broker; not yet open.

    Raises `ConfigurationError` for a URL of an unknown kind, or a missing extra.
    """
    transport: Transport = nats("transport").Transport(servers(broker), node=name)
    directory: Directory = nats("directory").Directory(transport)
    return transport, directory


def nats(module: str) -> ModuleType | Any:
    """Return a module of the broker's adapter.

    Raises `ConfigurationError` for a missing extra.
    """
    return _extra(f"eventmill.adapters.nats.{module}", "nats")


def servers(broker: str) -> list[str]:
    """Return the addresses in a broker's URL.

    Raises `ConfigurationError` for one of an unknown kind.
    """
    if not broker.startswith(("nats://", "tls://")):
        raise ConfigurationError("--broker begins with nats:// or tls://")
    return broker.split(",")


def _extra(module: str, extra: str) -> ModuleType | Any:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("eventmill"):
            raise
        raise ConfigurationError(
            f"{error.name} is not installed: pip install 'eventmill[{extra}]'"
        ) from error
