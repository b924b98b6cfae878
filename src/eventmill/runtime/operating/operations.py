"""Operations: what an operator may do to a running node. Admin, the CLI and the test kit come here.

Place on the road: beside it. Calls and messages enter at the ingress like everybody's; letters,
offsets and pauses change through commits, on every node that they concern (`runtime.control.control`,
`runtime.facts`).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, Literal

from eventmill.errors import Conflict, InvalidPayload, NotFound, TooLarge
from eventmill.model import limits
from eventmill.model.commit import Letter, LetterKey, LetterStatus
from eventmill.model.entry import Entry
from eventmill.model.envelope import Envelope
from eventmill.model.events import EventType
from eventmill.model.handler import Texts
from eventmill.model.replaying import PREFIX
from eventmill.model.subject import check_text
from eventmill.model.topic import not_ours
from eventmill.runtime.control.acts import (
    LETTERS_AT_ONCE,
    Choice,
    Discard,
    Redrive,
    Reset,
    Run,
    letter_key,
    letter_of,
    positions_at,
)
from eventmill.runtime.control.replays import ReplayStatus
from eventmill.runtime.control.status import ConsumerStatus, version_of
from eventmill.runtime.dispatch.subscription import Subscription
from eventmill.runtime.operating.reading import Lifted, lifted
from eventmill.runtime.runtime import Runtime
from eventmill.runtime.schedules import ScheduleStatus
from eventmill.runtime.views.projector import Projector
from eventmill.sdk.component import check_name


class Operations:
    """Operates one runtime.

    A view follows the journal once per version, as the subscription `view@version`; where a
    subscription is named, the plain name of a view means what it has of them.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def call(
        self,
        component: str,
        id: str,
        name: str,
        body: bytes,
        idempotency_key: str | None = None,
        *,
        sequence: int | None = None,
        time: datetime | None = None,
    ) -> bytes:
        """Run a command or query of an entity with a JSON object of arguments; return JSON.

        Parameters: `sequence`, `time`: ask the entity as it was then.

        Raises what the turn raises, `UnknownComponent`, `UnknownHandler` or `InvalidPayload`.
        """
        check_text("an entity id", id)
        handler = self._runtime.entities.handler(component, name)
        if sequence is not None or time is not None:
            if handler.writes:
                raise InvalidPayload(f"{name!r} is a command: nobody can change the past")
            arguments = handler.decode_arguments(body)
            until = None if time is None else round(time.timestamp() * 1e6)
            return await self._runtime.ask_past(
                handler, id, arguments, sequence=sequence, time=until
            )
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
        if topic in self._runtime.service.foreign:
            raise Conflict(not_ours(self._runtime.service.foreign[topic]))
        known = self._runtime.topic(topic)
        names = {name: kind for kind in known.event_types() for name in (kind.name, *kind.aliases)}
        if type is None and len(known.types) > 1:
            raise InvalidPayload(f"topic {topic!r} carries {', '.join(names)}: name the type")
        kind = names.get(type) if type is not None else next(iter(names.values()))
        if kind is None:
            raise InvalidPayload(f"topic {topic!r} carries {', '.join(names)}, not {type!r}")
        events = tuple(_event(kind, number, payload) for number, payload in enumerate(payloads))
        await self._runtime.publisher.events(known, events, key=key)

    async def adopt(self, topic: str) -> list[str]:
        """Read another service's topic from its beginning, if its stream is not the one that was
        read before; return who reads it: consumers begin anew, views are rebuilt.

        Raises `NotFound`, and `Conflict` if it is the one that was read before.
        """
        runtime = self._runtime
        if runtime.foreign is None or topic not in runtime.service.foreign:
            known = ", ".join(runtime.service.foreign) or "none"
            raise NotFound(f"no topic {topic!r} of another service; there is {known}")
        runtime.foreign.check_other(topic)
        running = runtime.subscriptions.items()
        readers = {
            name: one
            for name, one in running
            if topic in one.reaction.sources and not name.startswith(PREFIX)
        }
        views = {n.partition("@")[0] for n, s in readers.items() if _keeps_view(s)}
        others = [n for n, s in readers.items() if not _keeps_view(s)]
        homes = range(runtime.store.placement.shards)
        # Nothing of the topic is read meanwhile: positions say nothing about the new stream.
        for name in others:
            await runtime.control.everywhere(Reset(name, "beginning", 0, topic), homes)
        await runtime.foreign.adopt(topic)
        for name in readers.keys() - set(others):
            # The old version stays as it is; the new one is ahead of it when it has read all.
            await runtime.control.everywhere(Reset(name, "latest", 0, topic), homes)
        for view in views:
            await self.rebuild(view)
        return sorted([*others, *views])

    async def consumers(self) -> list[ConsumerStatus]:
        """Every subscription in all shards: consumers, views, pushes and the built-in courier."""
        return list((await self._runtime.control.statuses()).values())

    async def consumer(self, name: str) -> ConsumerStatus:
        """One subscription in all shards; of a view the version that answers.

        Raises `NotFound`.
        """
        found = await self._runtime.control.statuses()
        name = self._names(name)[0]
        return found.get(name) or self._missing(name)

    async def pause(self, name: str) -> ConsumerStatus:
        """Pause a subscription; it stays paused across restarts."""
        for each in self._names(name):
            await self._runtime.roster.pause(each)
        return await self.consumer(name)

    async def resume(self, name: str) -> ConsumerStatus:
        """Resume a paused subscription."""
        for each in self._names(name):
            await self._runtime.roster.resume(each)
        return await self.consumer(name)

    async def reset(
        self, name: str, to: Literal["beginning", "latest"] | int | datetime
    ) -> ConsumerStatus:
        """Let a subscription continue at the beginning, the end, after a position, or at a time.

        Parked letters beyond the new offset are dropped, because their entries are read again;
        those before it stay parked.

        Raises `NotFound`, `InvalidPayload` for a position outside the journal, `Conflict` for
        views, which are rebuilt instead, and for the courier, whose commands would be lost, and
        `Unreachable` for shards that nobody could be reached for.
        """
        subscription = self._runtime.subscription(self._names(name)[0])
        if _keeps_view(subscription):
            view = name.partition("@")[0]
            raise Conflict(
                f"{view!r} is a view: rebuild the view instead, with `eventmill views rebuild "
                f"{view}`"
            )
        if name.startswith("$"):
            raise Conflict(f"{name!r} is built in and delivers each command once: it has no reset")
        if name.startswith(PREFIX):
            raise Conflict(f"{name!r} is a replay: forget it, and replay again")
        placement = self._runtime.store.placement
        shards = placement.shards * len(placement.read_by(0, subscription.reaction.sources))
        if isinstance(to, int) and shards > 1:
            raise InvalidPayload(f"it reads {shards} shards: reset it to a time instead")
        if isinstance(to, datetime):
            act = Reset(name, "time", round(to.timestamp() * 1e6))
        else:
            act = Reset(name, to)
        await self._runtime.control.everywhere(act, range(placement.shards))
        return await self.consumer(name)

    async def cancel_timer(self, name: str) -> None:
        """Remove a timer; an unknown name is fine.

        Raises `Conflict` for those of the platform.
        """
        check_text("a timer's name", name)
        if name.startswith("$"):
            raise Conflict(f"timer {name!r} is the platform's own")
        await self._runtime.committer.write(lambda commit: commit.timers.update({name: None}))

    async def schedules(self) -> list[ScheduleStatus]:
        """Every schedule, and when its next tick is due."""
        return await self._runtime.schedules.status()

    async def pause_schedule(self, name: str) -> None:
        """Let a schedule's ticks pass without a run; it stays so across restarts.

        Raises `NotFound`.
        """
        await self._runtime.schedules.pause(name)

    async def resume_schedule(self, name: str) -> None:
        """Let a schedule's next tick have its run again.

        Raises `NotFound`.
        """
        await self._runtime.schedules.resume(name)

    async def run_schedule(self, name: str) -> None:
        """Let a schedule's function run now, paused or not; its ticks stay as they are.

        Raises `NotFound`, `Unreachable` if nobody holds its shard now.
        """
        schedules = self._runtime.schedules
        schedules.check(name)
        await self._runtime.control.everywhere(Run(name), [schedules.home(name)])

    async def replay(
        self,
        consumer: str,
        begin: Literal["beginning"] | int | datetime,
        *,
        group: str = "shadow",
        effects: bool = False,
    ) -> ReplayStatus:
        """Run a consumer's function again, in a group of its own, over what was there from the
        beginning, a position or a time on until now. What it returns is only counted, unless
        `effects`.

        Raises `NotFound`, `InvalidPayload`, `Conflict` for a group that is replayed already.
        """
        runtime = self._runtime
        check_name("consumer group", group)
        sources = frozenset({runtime.replays.definition(consumer).source.id})
        placement, tails = runtime.store.placement, runtime.tails
        homes = range(placement.shards)
        shards = [shard for home in homes for shard in placement.read_by(home, sources)]
        await runtime.look()  # other nodes append, too
        ends = await tails.find_ends(shards)
        if isinstance(begin, datetime):
            time = round(begin.timestamp() * 1e6)
            begins = {shard: await tails.position_at(shard, time) for shard in shards}
        elif isinstance(begin, int):
            begins = positions_at(begin, ends)
        else:
            begins = dict.fromkeys(shards, 0)
        replay = await runtime.replays.create(consumer, group, begins, ends, effects=effects)
        return next(one for one in await self.replays() if one.name == replay.name)

    async def replays(self) -> list[ReplayStatus]:
        """All replays, those that are finished included."""
        return await self._runtime.replays.statuses()

    async def forget_replay(self, name: str) -> None:
        """End a replay, finished or not; its tally, offsets and letters go.

        Raises `NotFound`.
        """
        await self._runtime.replays.forget(name)

    async def views(self) -> list[dict[str, Any]]:
        """Every view: its versions, how far they are in all shards, its queries and tables."""
        statuses = await self._runtime.control.statuses()
        views = self._runtime.views.status()
        for view in views:
            for version in (view["live"], view["building"]):
                status = statuses.get(f"{view['view']}@{version['version']}") if version else None
                if status is not None:
                    version |= {
                        "position": status.position,
                        "lag": status.lag,
                        "blocked_keys": status.blocked,
                    }
        return views

    async def rebuild(self, view: str) -> int:
        """Build a view anew beside the running version; return the new version's number.

        Raises `NotFound`, and `Conflict` while one is being built.
        """
        return await self._runtime.views.rebuild(view)

    async def query(self, view: str, query: str, texts: Texts) -> bytes:
        """Run a view's query with arguments given as texts; return JSON.

        Raises `NotFound`, `UnknownHandler`, `InvalidPayload`, and `Unavailable` while no version
        of the view answers.
        """
        return (await self._runtime.query_view(view, query, texts)).content

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
        return await letter_of(self._runtime.store, id)

    def lifted(self, entry: Entry) -> Lifted | None:
        """How this code reads an entry that another release stored; None if it is of this one."""
        return lifted(self._runtime.service, entry)

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
        choice = Choice(self._names(subscription)[0], key, letter, refused)
        self._runtime.subscription(choice.subscription)
        return await self._runtime.control.everywhere(Redrive(choice), self._homes(letter))

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
        choice = Choice(self._names(subscription)[0], key, letter, refused)
        return await self._runtime.control.everywhere(Discard(choice), self._homes(letter))

    def _homes(self, letter: str | None) -> Collection[int]:
        """Home shards that chosen letters may be in."""
        placement = self._runtime.store.placement
        if letter is not None:
            return [placement.home(letter_key(letter).shard)]
        return range(placement.shards)

    def _names(self, name: str) -> list[str]:
        """Return the subscriptions that a name means, the oldest version of a view first."""
        if name not in self._runtime.service.views:
            return [name]
        running = [s for s in self._runtime.subscriptions if s.partition("@")[0] == name]
        return sorted(running, key=version_of) or [name]

    def _missing(self, name: str) -> ConsumerStatus:
        known = ", ".join(self._runtime.subscriptions) or "none"
        raise NotFound(f"no subscription {name!r}; there is {known}")


def _keeps_view(subscription: Subscription) -> bool:
    return isinstance(subscription.reaction, Projector)


def _event(kind: EventType, number: int, payload: bytes) -> Any:
    try:
        return kind.decode(payload, kind.version)
    except InvalidPayload as error:
        details = {**error.details, "event": number}
        raise InvalidPayload(error.message, code=error.code, details=details) from error
