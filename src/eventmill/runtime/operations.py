"""Operations: what an operator may do to a running node. Admin, the CLI and the test kit come here.

Place on the road: beside it. Calls and messages enter at the ingress like everybody's; letters,
offsets and pauses change through commits. Nothing here reaches into a loop's memory but through
the subscription's own methods, and letters change only under the subscription's `letters` lock.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, Literal

import msgspec

from eventmill.engine import resend
from eventmill.errors import Conflict, InvalidPayload, NotFound, TooLarge
from eventmill.model import limits
from eventmill.model.commit import Commit, Letter, LetterKey, LetterStatus
from eventmill.model.entry import COMMANDS
from eventmill.model.envelope import Envelope
from eventmill.model.events import EventType
from eventmill.runtime import relay
from eventmill.runtime.projector import Projector
from eventmill.runtime.runtime import Runtime
from eventmill.runtime.subscription import Subscription

LETTERS_AT_ONCE = 1_000
"""Letters changed in one commit."""


class ConsumerStatus(msgspec.Struct, frozen=True):
    """How a subscription is doing."""

    name: str
    kind: Literal["consumer", "view", "built-in", "push"]
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
    """Both since the node started."""
    view: str = ""
    """The view that it keeps, for a view."""
    version: int = 0
    """That version of it."""
    lost: int = 0
    """Messages that the broker had removed before they were read, since the node started."""


class Operations:
    """Operates one runtime.

    A view follows the journal once per version, as the subscription `view@version`; where a
    subscription is named, the plain name of a view means what it has of them.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def call(
        self, component: str, id: str, name: str, body: bytes, idempotency_key: str | None = None
    ) -> bytes:
        """Run a command or query of an entity with a JSON object of arguments; return JSON.

        Raises what the turn raises, `UnknownComponent`, `UnknownHandler` or `InvalidPayload`.
        """
        handler = self._runtime.entities.handler(component, name)
        key = idempotency_key if handler.writes else None
        envelope = Envelope(component, id, name, handler.decode_arguments(body), key)
        return await self._runtime.execute(envelope)

    async def publish(
        self,
        topic: str,
        payloads: Sequence[bytes],
        type: str | None = None,
        key: str | None = None,
    ) -> None:
        """Append events of one type, given as JSON, to a topic: all or none.

        Their key is what the topic makes of each event, or `key`.

        Raises `NotFound` for an unknown topic, `InvalidPayload` if an event does not fit it (its
        `details` say which: `event` counts from 0), `TooLarge` for too many.
        """
        if len(payloads) > limits.BATCH_EVENTS_MAX:
            raise TooLarge(f"publish at most {limits.BATCH_EVENTS_MAX} events at once")
        known = self._runtime.topic(topic)
        names = {name: kind for kind in known.event_types() for name in (kind.name, *kind.aliases)}
        if type is None and len(known.types) > 1:
            raise InvalidPayload(f"topic {topic!r} carries {', '.join(names)}: name the type")
        kind = names.get(type) if type is not None else next(iter(names.values()))
        if kind is None:
            raise InvalidPayload(f"topic {topic!r} carries {', '.join(names)}, not {type!r}")
        events = tuple(_event(kind, number, payload) for number, payload in enumerate(payloads))
        await self._runtime.publisher.events(known, events, key=key)

    def consumers(self) -> list[ConsumerStatus]:
        """Every subscription: consumers, views, pushes and the built-in courier."""
        return [self._status(s) for s in self._runtime.subscriptions.values()]

    def consumer(self, name: str) -> ConsumerStatus:
        """One subscription; of a view the version that answers.

        Raises `NotFound`.
        """
        return self._status(self._runtime.subscription(self._names(name)[0]))

    async def pause(self, name: str) -> ConsumerStatus:
        """Pause a subscription; it stays paused across restarts."""
        for each in self._names(name):
            await self._runtime.pause(each)
        return self.consumer(name)

    async def resume(self, name: str) -> ConsumerStatus:
        """Resume a paused subscription."""
        for each in self._names(name):
            await self._runtime.resume(each)
        return self.consumer(name)

    async def reset(
        self, name: str, to: Literal["beginning", "latest"] | int | datetime
    ) -> ConsumerStatus:
        """Let a subscription continue at the beginning, the end, after a position, or at a time.

        Parked letters beyond the new offset are dropped, because their entries are read again;
        those before it stay parked.

        Raises `NotFound`, `InvalidPayload` for a position outside the journal, and `Conflict` for
        views, which are rebuilt instead, and for the courier, whose commands would be lost.
        """
        subscription = self._runtime.subscription(self._names(name)[0])
        if isinstance(subscription.reaction, Projector):
            view = name.partition("@")[0]
            raise Conflict(
                f"{view!r} is a view: rebuild the view instead, with `eventmill views rebuild "
                f"{view}`"
            )
        if name.startswith("$"):
            raise Conflict(f"{name!r} is built in and delivers each command once: it has no reset")
        await subscription.reset(await self._positions(subscription, to))
        return self.consumer(name)

    def views(self) -> list[dict[str, Any]]:
        """Every view: its versions, how far they are, its queries and tables."""
        return self._runtime.views.status()

    async def rebuild(self, view: str) -> int:
        """Build a view anew beside the running version; return the new version's number.

        Raises `NotFound`, and `Conflict` while one is being built.
        """
        return await self._runtime.views.rebuild(view)

    async def query(self, view: str, query: str, arguments: dict[str, str]) -> bytes:
        """Run a view's query with arguments given as texts; return JSON.

        Raises `NotFound`, `UnknownHandler`, `InvalidPayload`, and `Unavailable` while no version
        of the view answers.
        """
        return (await self._runtime.query_view(view, query, arguments)).content

    async def letters(
        self,
        subscription: str | None = None,
        *,
        statuses: tuple[LetterStatus, ...] = (),
        after: str = "",
        limit: int = 100,
    ) -> list[Letter]:
        """List letters after a letter's id, ordered by subscription and position: up to `limit`,
        fewer if they are large. Only an empty page is the last."""
        start = letter_key(after) if after else LetterKey("", 0, 0)
        subscription = self._names(subscription)[0] if subscription else None
        return await self._runtime.store.parking.letters(
            subscription=subscription,
            statuses=statuses,
            after=(start.subscription, start.shard, start.position),
            limit=min(limit, LETTERS_AT_ONCE),
        )

    async def letter(self, id: str) -> Letter:
        """One letter by its id `subscription:shard:position`.

        Raises `NotFound`.
        """
        key = letter_key(id)
        found = await self._runtime.store.parking.letters(
            subscription=key.subscription,
            after=(key.subscription, key.shard, key.position - 1),
            limit=1,
        )
        if not found or letter_id(found[0]) != id:
            raise NotFound(f"no letter {id!r}: it was handled, redriven or discarded meanwhile")
        return found[0]

    async def redrive(
        self,
        subscription: str,
        key: str | None = None,
        letter: str | None = None,
        *,
        refused: bool = False,
    ) -> int:
        """Try dead letters again, now and with fresh attempts; return how many.

        One letter by id, the head of one key (`source/subject`), or the dead letters of the whole
        subscription; `refused` takes the refused commands instead. What waits behind a letter
        follows it in order. A refused command is sent anew, at the journal's end: later commands
        of its entity have had their effect.

        Raises `NotFound`, and `Conflict` for a letter that waits behind another of its key.
        """
        subscription = self._names(subscription)[0]
        running = self._runtime.subscription(subscription)
        now = self._runtime.clock.now()
        redriven = 0
        async with running.letters:
            async for chosen in self._chosen(subscription, key, letter, refused):
                for one in chosen:
                    await self._need_head(one)
                again = [x for x in chosen if not _is_resent(x)]
                resent = [x for x in chosen if _is_resent(x)]

                def fill(
                    commit: Commit, again: list[Letter] = again, resent: list[Letter] = resent
                ) -> None:
                    commit.letters += [resend.retried(x, now) for x in again]
                    commit.entries += [resend.sent_again(x.entry, now) for x in resent]
                    commit.settled += [_key_of(x) for x in resent]

                await self._write(fill, running, again)
                for x in again:
                    running.block((x.entry.shard, x.key), LetterStatus.RETRYING, now)
                redriven += len(chosen)
        return redriven

    async def discard(
        self,
        subscription: str,
        key: str | None = None,
        letter: str | None = None,
        *,
        refused: bool = False,
    ) -> int:
        """Remove dead letters for good; return how many. The next of their keys proceed.

        Chosen as in `redrive`; a letter named by its id may also wait behind another. Letters of a
        subscription that no longer runs can be discarded too.

        Raises `NotFound`.
        """
        discarded = 0
        subscription = self._names(subscription)[0]
        async with self._letters_of(subscription):
            async for chosen in self._chosen(subscription, key, letter, refused):
                heads = [x for x in chosen if await self._is_head(x)]

                def fill(commit: Commit, chosen: list[Letter] = chosen) -> None:
                    commit.settled += [_key_of(x) for x in chosen]

                running = self._runtime.subscriptions.get(subscription)
                await self._write(fill, running, heads)
                for head in heads if running is not None else ():
                    assert running is not None
                    running.block((head.entry.shard, head.key), LetterStatus.RETRYING, 0)
                discarded += len(chosen)
        return discarded

    async def _write(
        self, fill: Callable[[Commit], None], running: Subscription | None, heads: list[Letter]
    ) -> None:
        """Change letters. If that fails, it may be true all the same: the retries look what is
        there, else a key whose dead letter is gone would stay blocked."""
        try:
            await self._runtime.committer.write(fill)
        except BaseException:
            now = self._runtime.clock.now()
            for head in heads if running is not None else ():
                assert running is not None
                running.block((head.entry.shard, head.key), LetterStatus.RETRYING, now)
            raise

    @asynccontextmanager
    async def _letters_of(self, subscription: str) -> AsyncIterator[None]:
        running = self._runtime.subscriptions.get(subscription)
        if running is None:
            yield
            return
        async with running.letters:
            yield

    async def _chosen(
        self, subscription: str, key: str | None, letter: str | None, refused: bool
    ) -> AsyncIterator[list[Letter]]:
        """Yield the letters an operator means, in order, in bounded portions."""
        if letter is not None:
            found = await self.letter(letter)
            if found.subscription != subscription or key not in (None, found.key):
                raise NotFound(f"letter {letter!r} does not belong to {subscription!r}, {key!r}")
            yield [found]
            return
        if key is not None and not refused:
            for shard in self._runtime.subscription(subscription).positions:
                parking = self._runtime.store.parking
                if queue := await parking.queue(subscription, shard, key, limit=1):
                    yield queue
            return
        status = LetterStatus.REFUSED if refused else LetterStatus.DEAD
        after = (subscription, -1, 0)
        while page := await self._runtime.store.parking.letters(
            subscription=subscription, statuses=(status,), after=after, limit=LETTERS_AT_ONCE
        ):
            after = (subscription, page[-1].entry.shard, page[-1].entry.position)
            chosen = [x for x in page if key in (None, x.key)]
            if chosen:
                yield chosen

    async def _is_head(self, letter: Letter) -> bool:
        if letter.status is LetterStatus.REFUSED:
            return False
        parking = self._runtime.store.parking
        (head,) = await parking.queue(letter.subscription, letter.entry.shard, letter.key, limit=1)
        return head.entry.id == letter.entry.id

    async def _need_head(self, letter: Letter) -> None:
        if letter.status is LetterStatus.WAITING and not await self._is_head(letter):
            raise Conflict(
                f"letter {letter_id(letter)!r} waits behind another of key {letter.key!r}: redrive "
                "the key, or discard what is before it"
            )

    async def _positions(
        self, subscription: Subscription, to: Literal["beginning", "latest"] | int | datetime
    ) -> dict[int, int]:
        ends = subscription.ends
        if isinstance(to, datetime):
            time = round(to.timestamp() * 1e6)
            return {shard: await subscription.tails.position_at(shard, time) for shard in ends}
        if to == "latest":
            return await subscription.tails.find_ends(ends)
        if to == "beginning":
            return dict.fromkeys(ends, 0)
        if len(ends) > 1:
            raise InvalidPayload(f"it reads {len(ends)} shards: reset it to a time instead")
        for end in ends.values():
            if not 0 <= to <= end:
                raise InvalidPayload(f"position {to} is outside the journal, which ends at {end}")
        return dict.fromkeys(ends, to)

    def _names(self, name: str) -> list[str]:
        """Return the subscriptions that a name means, the oldest version of a view first."""
        if name not in self._runtime.service.views:
            return [name]
        running = [s for s in self._runtime.subscriptions if s.partition("@")[0] == name]
        return sorted(running, key=_version) or [name]

    def _status(self, subscription: Subscription) -> ConsumerStatus:
        blocked = subscription.blocked
        is_view = isinstance(subscription.reaction, Projector)
        return ConsumerStatus(
            name=subscription.name,
            kind=self._kind_of(subscription),
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
            version=_version(subscription.name) if is_view else 0,
            lost=subscription.marks.lost,
        )

    def _kind_of(
        self, subscription: Subscription
    ) -> Literal["consumer", "view", "built-in", "push"]:
        if isinstance(subscription.reaction, Projector):
            return "view"
        if subscription.name.startswith("$"):
            return "built-in"
        known = {c.subscription for c in self._runtime.service.consumers.values()}
        return "consumer" if subscription.name in known else "push"


def _event(kind: EventType, number: int, payload: bytes) -> Any:
    try:
        return kind.decode(payload, kind.version)
    except InvalidPayload as error:
        details = {**error.details, "event": number}
        raise InvalidPayload(error.message, code=error.code, details=details) from error


def letter_id(letter: Letter) -> str:
    """Return a letter's id: `subscription:shard:position`."""
    return f"{letter.subscription}:{letter.entry.shard}:{letter.entry.position}"


def letter_key(id: str) -> LetterKey:
    """Read a letter's id.

    Raises `InvalidPayload`.
    """
    subscription, _, rest = id.partition(":")
    shard, _, position = rest.partition(":")
    if not (subscription and shard.isdecimal() and position.isdecimal()):
        raise InvalidPayload(f"{id!r} is no letter's id: use subscription:shard:position")
    return LetterKey(subscription, int(shard), int(position))


def _version(name: str) -> int:
    return int(name.partition("@")[2])


def _key_of(letter: Letter) -> LetterKey:
    return LetterKey(letter.subscription, letter.entry.shard, letter.entry.position)


def _is_resent(letter: Letter) -> bool:
    """Whether it is a command or a message that was refused: its place has been passed."""
    return letter.status is LetterStatus.REFUSED and (
        letter.entry.source == COMMANDS or letter.subscription == relay.NAME
    )


assert LETTERS_AT_ONCE <= limits.PARKED_MAX
