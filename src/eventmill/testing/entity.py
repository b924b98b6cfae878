"""Unit kit of an entity: run a command, look at events, reply and state. No store, no loop.

    kit = EntityKit(Cart, "c1")
    result = kit.run(Cart.add_item, sku="x", quantity=1)
    assert result.events == [ItemAdded(sku="x", quantity=1)]
    assert result.reply == {"x": 1}

Commands go through the engine's own decision, with all guards on. After each one the kit folds the
stored events anew and compares: a fold that depends on anything but its event is found here.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Generic, ParamSpec, TypeVar

from eventmill.engine import entity as engine
from eventmill.errors import FAILURES, Deleted, EventmillError, Rejected
from eventmill.model.commit import Commit
from eventmill.model.definition import EntityDefinition
from eventmill.model.effect import Effect, Outgoing
from eventmill.model.entry import DELETED, STATE, Entry, with_members
from eventmill.model.events import EntityDeleted
from eventmill.model.handler import Handler
from eventmill.runtime.turns.guards import Guards
from eventmill.runtime.turns.turn import failure_of
from eventmill.sdk.reading import define_entity
from eventmill.testing.clock import MIDNIGHT
from eventmill.testing.fitting import check_fit
from eventmill.testing.incoming import entry_of
from eventmill.testing.outgoing import Published, Scheduled, Sent, cancelled, published
from eventmill.testing.outgoing import scheduled as scheduled_in
from eventmill.testing.outgoing import sent as sent_in

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S")


class Result(Generic[S, R]):
    """What one command or query led to."""

    def __init__(
        self,
        handler: Handler[Any, R],
        state: S,
        *,
        reply: bytes = b"null",
        rejected: Rejected | Deleted | None = None,
        entries: list[Entry] | None = None,
        events: list[Any] | None = None,
        effect: Effect[Any] | None = None,
        expires_after: timedelta | None = None,
    ) -> None:
        self.state = state
        """The state afterwards; a copy."""
        self.rejected = rejected
        """Why the command was refused: `Rejected`, or `Deleted` for a deleted entity."""
        self.entries = entries or []
        """What is stored, as it is stored: type names, versions, metadata."""
        self.events = events or []
        """The stored events, decoded again; `EntityDeleted` for a deletion."""
        self.expires_after = expires_after
        self.deleted = effect.deleted if effect else False
        self._outgoing: tuple[Outgoing, ...] = effect.outgoing if effect else ()
        self._handler = handler
        self._reply = reply

    def __repr__(self) -> str:
        answer = f"rejected {self.rejected.code}" if self.rejected else f"reply {self._reply!r}"
        return f"<Result of {self._handler.name} [{answer}, events {self.events!r}]>"

    @property
    def reply(self) -> R:
        """The reply as the caller gets it; an `AssertionError` if the command was refused."""
        if self.rejected is not None:
            raise AssertionError(
                f"{self._handler.name} was refused: {self.rejected.message}"
            ) from self.rejected
        reply: R = self._handler.decode_reply(self._reply)
        return reply

    @property
    def published(self) -> list[Published]:
        """Events for topics."""
        return published(self._outgoing)

    @property
    def sent(self) -> list[Sent]:
        """Commands for other entities."""
        return sent_in(self._outgoing)

    @property
    def scheduled(self) -> list[Scheduled]:
        """Timers that were set."""
        return scheduled_in(self._outgoing)

    @property
    def cancelled(self) -> list[str]:
        """Names of timers that were removed."""
        return cancelled(self._outgoing)


class EntityKit(Generic[S]):
    """One entity of class `cls` and id `id`; keeps its state from run to run.

    Attributes a test may set: `now`, the time of the next turns; `metadata`, that of the requests.
    Raises `ConfigurationError` for a class that no service would take, and for replicated entities
    and workflows, which have kits of their own.
    """

    def __init__(self, cls: type[S], id: str = "test") -> None:
        check_fit("EntityKit", cls)
        self._guards = Guards(enabled=True)
        self.definition: EntityDefinition = self._guards.watched(define_entity(cls))
        self.now: datetime = MIDNIGHT
        self.metadata: dict[str, Any] = {}
        self.history: list[Entry] = []
        """Everything stored so far."""
        self._live = engine.Live(self.definition, id)

    def __repr__(self) -> str:
        return f"<EntityKit {self._live!r}>"

    @property
    def state(self) -> S:
        """The current state; a copy."""
        return self._copy(self._live)

    def given(self, *events: Any) -> EntityKit[S]:
        """Begin with a history: events, or for a key-value entity one state."""
        for event in events:
            entry = self._entry(event)
            self._live.apply(entry)
            self.history.append(entry)
        return self

    def run(self, handler: Handler[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Result[S, R]:
        """Run a command or query.

        Raises `InvalidPayload` for arguments that do not fit and `HandlerFailed` for what the
        handler raises or a guard finds; a refusal is in the result.
        """
        arguments = handler.arguments(args, kwargs)
        identity = self._live.identity
        identity.now = now = round(self.now.timestamp() * 1e6)
        identity.metadata = metadata = with_members(None, self.metadata)
        try:
            if self._live.deleted:
                raise Deleted(f"{self.definition.id}/{self._live.id} was deleted")
            if not handler.writes:
                reply = self._guards.ask(self._live, handler, arguments)
                return Result(handler, self.state, reply=reply)
            effect = self._guards.run(self._live, handler, arguments)
            commit = Commit()
            reply = engine.decide(self._live, handler, effect, now, metadata, None, commit)
        except (Rejected, Deleted) as refusal:
            return Result(handler, self.state, rejected=refusal)
        except EventmillError:
            raise
        except FAILURES as error:
            raise failure_of(handler, error) from error
        return self._settled(handler, effect, commit, reply)

    def _settled(
        self, handler: Handler[Any, R], effect: Effect[Any], commit: Commit, reply: bytes
    ) -> Result[S, R]:
        own = [entry for entry in commit.entries if entry.source == self.definition.id]
        self.history += own
        self._check_replay()
        events = [self._decoded(entry) for entry in own]
        expires_after = effect.expire_after
        if expires_after is None and own and not effect.deleted:
            expires_after = self.definition.expire_after
        return Result(
            handler,
            self.state,
            reply=reply,
            entries=own,
            events=events,
            effect=effect,
            expires_after=expires_after,
        )

    def _check_replay(self) -> None:
        again = engine.Live(self.definition, self._live.id)
        for entry in self.history:
            again.apply(entry)
        encode = self.definition.encode_state
        if encode(again.state) != encode(self._live.state):
            raise AssertionError(
                f"{self.definition.cls.__qualname__}: folding the stored events again gives "
                f"{again.state!r}, not {self._live.state!r}; an @on handler depends on something "
                "that is not in its event"
            )

    def _copy(self, live: engine.Live) -> S:
        state: S = self.definition.decode_state(self.definition.encode_state(live.state))
        state.bind(live.identity)  # type: ignore[attr-defined]  # every entity has it
        return state

    def _decoded(self, entry: Entry) -> Any:
        if entry.type == DELETED:
            return EntityDeleted()
        if entry.type == STATE:
            return self.definition.decode_state(entry.payload)
        return self.definition.event_types[entry.type].decode(entry.payload, entry.version)

    def _entry(self, event: Any) -> Entry:
        sequence = self._live.identity.sequence + 1
        now = round(self.now.timestamp() * 1e6)
        return entry_of(self.definition.cls, event, self._live.id, sequence, now=now)
