"""Settings of a node, parsed once into one frozen value."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from eventmill.model import limits


@dataclass(frozen=True, slots=True)
class NodeConfig:
    """What an operator may set; see `docs/configuration.md`."""

    data: Path = Path(".eventmill")
    """Directory of the store; one node at a time uses it."""
    store: str = ""
    """`postgresql://…`: a store shared by several nodes, instead of SQLite in `data`."""
    shards: int | None = None
    """Home shards of a shared store, fixed when it is created; None takes the default."""
    broker: str = ""
    """`nats://…`: how the nodes of a shared store reach each other, and where topics live."""
    topics: Literal["store", "broker"] | None = None
    """Where topics live; None: in the broker if there is one."""
    replicas: int = 1
    """How many of the broker's servers hold a topic's messages."""
    node: str = ""
    """Name of this node among the others; empty makes one up."""
    host: str = "127.0.0.1"
    """Address of the service's HTTP port; loopback unless told otherwise."""
    port: int = 8080
    """Port of the service; 0 takes a free one."""
    admin_host: str = "127.0.0.1"
    admin_port: int = 0
    """Port of the operating surface; 0 takes a free one, which `node.json` tells the CLI."""
    synchronous: str = "FULL"
    """SQLite's pragma; NORMAL may lose the last commits on power failure."""
    push_private: bool | None = None
    """Whether subscriptions may push to loopback and private addresses; None allows it when
    `host` is loopback, because then only this machine can subscribe."""
    guards: bool = False
    """Checks of development: lost effects, state changed outside `@on`."""
    cache_entities: int = limits.CACHE_ENTITIES
    cache_bytes: int = limits.CACHE_BYTES
    drain_seconds: float = 30.0
    """How long a stop waits for requests under way."""
