"""The transformer: a transform's reaction. Events and states of keys in, states and messages out.

Place on the road: the end of dispatch; how states are read, kept and written is `runtime.folding`'s.
A key's state, what it publishes and the offset are one commit, so results come true once.

A key that is silent is closed by when events were taken, not by a clock here: its timer only brings
this about when no event does. So the same events give the same results when they are read again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, Final

from eventmill.engine import outgoing
from eventmill.engine.causation import caused_by
from eventmill.engine.transforms.joins import Held, JoinStage
from eventmill.engine.transforms.state import EPOCH, Stage, State, microseconds
from eventmill.engine.transforms.windows import stage_of
from eventmill.errors import FAILURES, HandlerFailed, Rejected
from eventmill.model import limits
from eventmill.model.commit import Commit, Rows, Timer
from eventmill.model.definition import SKIP
from eventmill.model.entry import COMMANDS, Entry
from eventmill.model.events import EventType
from eventmill.model.transform import IDLE, Input, Joining, TransformDefinition, composed
from eventmill.ports.clock import Clock
from eventmill.ports.store import Store
from eventmill.runtime.dispatch.reaction import Queue, Reacted
from eventmill.runtime.dispatch.taking import event_of
from eventmill.runtime.folding.folding import Folding, fetched
from eventmill.runtime.folding.rows import TableRows
from eventmill.runtime.room import Room
from eventmill.runtime.transforms.rows import GenerationCodec, StateCodec, Unfit, tables_of

AGAIN_MICROSECONDS: Final = 1_000_000
"""Wait before a silent key is looked at again whose source was not read to its end."""

PATIENCE_MICROSECONDS: Final = 10_000_000
"""A timer is not set for sooner: when an old journal is read, all would be due at once."""

KEPT_MICROSECONDS: Final = limits.TRANSFORM_KEY_SECONDS * 1_000_000


class Transformer(Folding):
    """Runs one transform.

    Parameters: `is_new` says that nothing is stored of it.
    """

    def __init__(
        self,
        definition: TransformDefinition,
        store: Store,
        clock: Clock,
        room: Room,
        *,
        is_new: bool,
    ) -> None:
        self._stage = _stage_of(definition)
        keys, generations = (table.name for table in tables_of(definition.id))
        super().__init__({})
        if self._stage is not None:
            codec = StateCodec(self._stage)
            self._states = TableRows(keys, codec, store.views, is_new=is_new)
            self._generations = TableRows(generations, GenerationCodec(), store.views, is_new=False)
            self.tables = {"states": self._states, "generations": self._generations}
        self.definition = definition
        self.retry = definition.retry
        self._inputs = {
            one.source.id: (side, _kinds_of(one), composed(one.steps), one.time, one)
            for side, one in enumerate(definition.inputs)
        }
        self._idle = microseconds(definition.idle) if definition.idle is not None else 0
        self.sources = frozenset([*self._inputs, *([COMMANDS] if self._idle else [])])
        self.skipped = frozenset(
            (one.source.id, name)
            for _, kinds, _, _, one in self._inputs.values()
            for name in one.source.event_types.keys() - kinds.keys()
        )
        self._finish = composed(definition.steps)
        """What becomes of a result."""
        self._placement = store.placement
        self._clock = clock
        self._room = room
        self._commands = f"{definition.id}/"
        self._touched: dict[str, State] = {}
        """States that are to be written with the portion under way."""
        self._is_folding_again = False
        self._now = 0
        self._given: list[Callable[[Commit], None]] = []
        self._late: list[tuple[Entry, BaseException]] = []
        self._timers: dict[str, Timer] = {}
        self._newest: dict[int, int] = {}
        """By shard: when the last event that was read from it had been taken."""
        self.is_read: Callable[[int], bool] = lambda shard: False
        """Whether a shard was read to its end before this batch; its subscription says so."""
        self.is_parked: Callable[[Queue], bool] = lambda queue: False
        """Whether entries of a key are parked; its subscription says so, too."""

    def __repr__(self) -> str:
        return f"<Transformer {self.definition.id}>"

    async def _react(self, entries: list[Entry], *, is_careful: bool) -> Reacted:
        reacted = await super()._react(entries, is_careful=is_careful)
        reacted.refused += self._late
        if self._idle:
            done = entries[: len(entries) - len(reacted.left)]
            reacted.besides = sum(entry.source == COMMANDS for entry in done)
        return reacted

    def begin(self) -> None:
        super().begin()
        self._now = self._clock.now()
        self._given, self._late, self._timers = [], [], {}

    def effects(self) -> list[Callable[[Commit], None]]:
        if self._timers:
            timers = self._timers
            self._given.append(lambda commit: commit.timers.update(timers))
        return self._given

    async def rewind(self, shards: Collection[int]) -> Callable[[Commit], None]:
        homes = sorted({str(self._placement.home(shard)) for shard in shards})
        if self._stage is None or not homes:
            return lambda commit: None
        self._uncommitted = True  # whatever becomes of the commit, the next batch reads anew
        await self._generations.read(homes)
        numbers = [(home, (self._generations.rows.get(home) or 0) + 1) for home in homes]
        change = Rows(self._generations.physical, [*numbers], [])
        return lambda commit: commit.rows.append(change)

    async def fetch(self, entries: list[Entry]) -> list[Entry]:
        if self._stage is None:
            return entries
        self._touched.clear()
        homes = {self._placement.home(shard) for shard in {entry.shard for entry in entries}}
        await self._generations.fetch(map(str, homes))
        if self._states.is_complete:
            return entries
        keys = [self.key_of(e) if self._is_ours(e) else None for e in entries]
        return await fetched(self._states, entries, keys)

    def _is_ours(self, entry: Entry) -> bool:
        """Whether it is no command, or the one that a timer here has sent."""
        return entry.source != COMMANDS or (
            entry.type == IDLE and entry.subject.startswith(self._commands)
        )

    def key_of(self, entry: Entry) -> str:
        if entry.source == COMMANDS:
            return entry.subject.removeprefix(self._commands)
        return entry.subject

    def _fold_and_check(self, entry: Entry) -> None:
        given, late, weight = len(self._given), len(self._late), self.weight
        try:
            super()._fold_and_check(entry)
        except FAILURES:  # its state cannot be kept: what came of it comes when it is tried again
            del self._given[given:], self._late[late:]
            self.weight = weight
            raise

    async def _undo(self, key: str, done: list[Entry]) -> None:
        self._touched.pop(key, None)
        await super()._undo(key, done)

    def refold(self, entry: Entry) -> None:
        self._is_folding_again = True
        try:
            self.fold(entry)
        finally:
            self._is_folding_again = False

    def fold(self, entry: Entry) -> None:
        way = self._inputs.get(entry.source)
        if way is None:
            if self._is_ours(entry):
                self._look(entry)
            return
        side, kinds, made_of, time_of, one = way
        kind = kinds.get(entry.type)
        if kind is not None:  # the usual case
            value = made_of(kind.decode(entry.payload, entry.version))
        else:
            value = event_of(one.source, entry, one.types, self.definition.ignore_unknown)
            if value is not SKIP:
                value = made_of(value)
        if idle := self._idle:
            self._newest[entry.shard] = entry.time
        if value is SKIP:
            return
        stage = self._stage
        if stage is None:
            self._give([value], entry)
            return
        if time_of is None:
            time = entry.time
        else:
            moment = time_of(value)
            try:
                span = moment - EPOCH
                time = (span.days * 86_400 + span.seconds) * 1_000_000 + span.microseconds
            except (TypeError, AttributeError) as error:
                raise _no_time(moment) from error
        key = entry.subject
        state = self._touched.get(key) or self._touch(key, entry, stage)
        results = self._after_silence(stage, state, key, entry) if idle else _NOTHING
        taken = stage.take(state, key, side, time, value, entry)
        if taken or results or taken is None:
            self._give([*results, *(taken or ())], entry, value, is_late=taken is None)

    def _touch(self, key: str, entry: Entry, stage: Stage) -> Any:
        """Return the state of a key, which will have to be written."""
        state = self._state(key, entry) or stage.new(self._generation(entry))
        self._states.put(key, state)
        self._touched[key] = state
        return state

    def _after_silence(self, stage: Stage, state: State, key: str, entry: Entry) -> list[Any]:
        """Close what the silence before an event closes; see to it that the next one ends."""
        idle, now, seen = self._idle, self._now, state.seen
        # One timer a key and silence: it stays where it is while events come.
        want = max(entry.time + idle, now + min(idle, PATIENCE_MICROSECONDS))
        if not now <= state.due <= want:
            self._arm(state, key, want)
        state.seen = max(seen, entry.time)
        is_silence = entry.time - seen >= idle and stage.is_open(state)
        if not is_silence or self._has_parked(key, entry):
            return []
        return stage.close(state, key)

    def _look(self, entry: Entry) -> None:
        """A timer fired: close what a silent key has open, later forget the key."""
        key, stage, home = self.key_of(entry), self._stage, entry.shard
        if stage is None or home != self._placement.entity(key):
            return
        state = self._state(key, entry)
        if state is None or entry.time < state.due:
            return  # a later timer is on its way
        self._touched.pop(key, None)
        end = state.seen + self._idle
        if entry.time < end:
            self._arm(state, key, end)
        elif not self._is_known_until(end, home):
            self._arm(state, key, self._now + AGAIN_MICROSECONDS)
        elif self._has_parked(key, entry):
            self._arm(state, key, self._now + self._idle)
        elif stage.is_open(state):
            self._give(stage.close(state, key), entry)
            self._arm(state, key, end + KEPT_MICROSECONDS)
        elif entry.time < end + KEPT_MICROSECONDS:
            self._arm(state, key, end + KEPT_MICROSECONDS)
        else:
            self._states.put(key, None)
            return
        self._states.put(key, state)

    def _is_known_until(self, time: int, home: int) -> bool:
        """Whether all events of a home shard were read that had been taken by then; its own shard was
        read up to the timer."""
        return all(
            shard == home or self._newest.get(shard, 0) >= time or self.is_read(shard)
            for shard in self._placement.read_by(home, self._inputs)
        )

    def _has_parked(self, key: str, entry: Entry) -> bool:
        """Whether other events of a key wait to be tried again: then it was not silent. Those behind
        the entry itself, if it is being tried again, came after it."""
        home = self._placement.home(entry.shard)
        return any(
            self.is_parked((shard, f"{source}/{key}"))
            for source in self._inputs
            for shard in self._placement.read_by(home, [source])
            if (shard, source) != (entry.shard, entry.source)
        )

    def _arm(self, state: State, key: str, due: int) -> None:
        state.due = due
        home = self._placement.entity(key)
        command = Entry(COMMANDS, self._commands + key, 0, IDLE, 1, 0, b"{}", None, None, home)
        name = f"{IDLE}/{self._commands}{key}"
        self._timers[name] = Timer(name, due, command)

    def _generation(self, entry: Entry) -> int:
        return self._generations.rows.get(str(self._placement.home(entry.shard))) or 0

    def _state(self, key: str, entry: Entry) -> Any:
        state = self._states.rows.get(key)
        if state is None or state.generation != self._generation(entry):
            return None
        if state.__class__ is Unfit:
            raise state.error
        return state

    def _give(
        self, results: list[Any], entry: Entry, value: Any = None, *, is_late: bool = False
    ) -> None:
        """Publish what came of an entry; keep what is late and has no topic for people to see."""
        definition = self.definition
        self.made += len(results)
        made = map(self._finish, results)
        events = [(definition.target, event) for event in made if event is not SKIP]
        if is_late and definition.late is not None:
            events.append((definition.late, value))
        if self._is_folding_again:
            return
        if events:
            self._room.check(topic.id for topic, _ in events)
            expansion = outgoing.messages(
                events, self._now, caused_by(entry), self._placement, definition.place
            )
            self._given.append(expansion.add_to)
            self.weight += expansion.weight
        self.press()
        if is_late and definition.late is None:
            self._late.append((entry, _too_late(definition)))


_NOTHING: list[Any] = []


def _kinds_of(one: Input) -> dict[str, EventType]:
    """Stored types that it takes, by name."""
    kinds = one.source.event_types.items()
    return {name: kind for name, kind in kinds if not one.types or kind.cls in one.types}


def _stage_of(definition: TransformDefinition) -> Stage | None:
    match definition.stage:
        case None:
            return None
        case Joining() as joining:
            made = [composed(one.steps) for one in definition.inputs]

            def read(side: int, held: Held) -> Any:
                one = definition.inputs[side]
                event = one.source.event_types[held.type].decode(bytes(held.payload), held.version)
                return made[side](event)

            return JoinStage(joining, read)
        case windowing:
            return stage_of(windowing)


def _no_time(moment: Any) -> HandlerFailed:
    return HandlerFailed(
        f"time= returned {moment!r}: it returns a datetime with a time zone, as "
        "datetime.fromisoformat('2013-01-01T00:00:00Z')",
        code="transform.time",
    )


def _too_late(definition: TransformDefinition) -> Rejected:
    return Rejected(
        f"late: transform {definition.id!r} had closed what the event belongs to; allow more "
        "lateness, or give late events a topic (late=)",
        code="transform.late",
    )
