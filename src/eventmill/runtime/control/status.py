"""Status: how the subscriptions are doing, here and put together from what several nodes say.

Place on the road: beside it. Each node knows about its own shards; of those that nobody speaks for
just now, the store knows how far they are at least.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Literal

import msgspec

from eventmill.errors import Unavailable
from eventmill.model import replaying
from eventmill.model.commit import LetterStatus
from eventmill.runtime.dispatch.subscription import Subscription
from eventmill.runtime.dispatch.tails import Tails
from eventmill.runtime.transforms.transformer import Transformer
from eventmill.runtime.views.projector import Projector

if TYPE_CHECKING:
    from eventmill.runtime.runtime import Runtime

Kind = Literal["consumer", "action", "view", "transform", "built-in", "push", "replay"]

_ADDED = ("position", "end", "lag", "blocked", "dead", "handled", "failures", "lost")


class ConsumerStatus(msgspec.Struct, frozen=True):
    """How a subscription is doing."""

    name: str
    kind: Kind
    sources: list[str]
    position: int
    end: int
    """Where its shards end, together."""
    lag: int
    """Positions behind the end, of all sources together."""
    paused: bool
    blocked: int
    """Keys with a parked head."""
    dead: int
    """Those among them that wait for a redrive or discard."""
    handled: int
    failures: int
    """Both since the nodes started."""
    view: str = ""
    """The view that it keeps, for a view."""
    version: int = 0
    """That version of it."""
    lost: int = 0
    """Messages that the broker had removed before they were read, since the nodes started."""


def here(runtime: Runtime) -> list[ConsumerStatus]:
    """Tell how the subscriptions are doing in the shards of this node."""
    return [_status(runtime, subscription) for subscription in runtime.subscriptions.values()]


def together(said: Iterable[ConsumerStatus]) -> dict[str, ConsumerStatus]:
    """Add up what was said of each subscription."""
    found: dict[str, ConsumerStatus] = {}
    for status in said:
        before = found.get(status.name)
        if before is not None:
            sums = {name: getattr(before, name) + getattr(status, name) for name in _ADDED}
            status = msgspec.structs.replace(before, **sums)
        found[status.name] = status
    return found


async def stored(runtime: Runtime, homes: Collection[int]) -> list[ConsumerStatus]:
    """Tell by the store how the subscriptions are doing in home shards that nobody speaks for."""
    if not homes:
        return []
    store, read_by = runtime.store, runtime.store.placement.read_by
    offsets = await store.offsets()
    all_shards = [s for s in store.placement.all() if store.placement.home(s) in homes]
    heads = await store.parking.heads(all_shards)
    found = []
    for subscription in runtime.subscriptions.values():
        name, sources = subscription.name, subscription.reaction.sources
        shards = [shard for home in homes for shard in read_by(home, sources)]
        ends = await _ends(subscription.tails, shards)
        mine = [head for head in heads if head.subscription == name and head.shard in ends]
        at = {shard: offsets.get((name, shard), 0) for shard in shards}
        found.append(
            msgspec.structs.replace(
                _status(runtime, subscription),
                position=sum(at.values()),
                end=sum(ends.values()),
                lag=sum(max(0, ends[shard] - at[shard]) for shard in shards),
                blocked=len(mine),
                dead=sum(head.status is LetterStatus.DEAD for head in mine),
                handled=0,
                failures=0,
                lost=0,
            )
        )
    return found


def version_of(name: str) -> int:
    """Return the version of a view that a subscription keeps."""
    return int(name.partition("@")[2])


async def _ends(tails: Tails, shards: list[int]) -> dict[int, int]:
    try:
        return await tails.find_ends(shards)
    except Unavailable:  # the broker; then it is as far as it is known here
        return tails.ends(shards)


def _status(runtime: Runtime, subscription: Subscription) -> ConsumerStatus:
    blocked = subscription.blocked
    is_view = isinstance(subscription.reaction, Projector)
    return ConsumerStatus(
        name=subscription.name,
        kind=_kind_of(runtime, subscription),
        sources=sorted(subscription.reaction.sources),
        position=subscription.position,
        end=sum(subscription.ends.values()),
        lag=subscription.lag,
        paused=subscription.paused,
        blocked=len(blocked),
        dead=blocked.dead,
        handled=subscription.handled,
        failures=subscription.failures,
        view=subscription.name.partition("@")[0] if is_view else "",
        version=version_of(subscription.name) if is_view else 0,
        lost=subscription.marks.lost,
    )


def _kind_of(runtime: Runtime, subscription: Subscription) -> Kind:
    if isinstance(subscription.reaction, Projector):
        return "view"
    if isinstance(subscription.reaction, Transformer):
        return "transform"
    if subscription.name.startswith("$"):
        return "built-in"
    if subscription.name in runtime.service.actions:
        return "action"
    if subscription.name.startswith(replaying.PREFIX):
        return "replay"
    known = {c.subscription for c in runtime.service.consumers.values()}
    return "consumer" if subscription.name in known else "push"
