"""Entities: classes whose fields are the state, whose methods decide, and whose folds change it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Self, TypeVar

import msgspec

from eventmill.model import limits
from eventmill.model.effect import EntityEffect
from eventmill.model.entry import read_metadata
from eventmill.model.identity import Identity
from eventmill.sdk import guards

T = TypeVar("T")

_IDENTITY = "_identity"


_UNBOUND = Identity("")


class Bound:
    """What every entity's handlers may know of it besides its state."""

    @property
    def entity_id(self) -> str:
        """The id it is called by."""
        return self._identity.id

    @property
    def sequence(self) -> int:
        """Number of its latest event (its revision, for a key-value entity); 0 if it is new."""
        return self._identity.sequence

    @property
    def now(self) -> datetime:
        """The time of this turn; use it instead of the system's clock."""
        return datetime.fromtimestamp(self._identity.now / 1e6, UTC)

    @property
    def metadata(self) -> dict[str, Any]:
        """Metadata of the request that is being handled."""
        return read_metadata(self._identity.metadata)

    @property
    def _identity(self) -> Identity:
        identity: Identity = self.__dict__.get(_IDENTITY, _UNBOUND)
        return identity

    def bind(self, identity: Identity) -> None:
        """Tell the instance who it is. Called by the engine and the test kit."""
        self.__dict__[_IDENTITY] = identity

    def reply(self, value: T) -> EntityEffect[Self, T]:
        """Answer without changing anything."""
        return guards.made(EntityEffect(value=value))


class _Entity(msgspec.Struct, Bound, dict=True, kw_only=True):
    """What event-sourced and key-value entities have in common."""

    retention: ClassVar[timedelta] = timedelta(seconds=limits.RETENTION_DELETED_SECONDS)
    """How long a deleted entity's events are kept before they are removed."""
    expire_after: ClassVar[timedelta | None] = None
    """Delete an entity this long after its last change; an effect's own `expiring` goes before."""


class EventSourcedEntity(_Entity):
    """An entity whose state is the fold of its events.

    Its fields are the state and need defaults: they are the state of an entity without events.
    """

    snapshot_every: ClassVar[int] = limits.SNAPSHOT_EVERY
    """Events between two snapshots; 0 turns snapshots off."""
    snapshot_version: ClassVar[int] = 1
    """Raise it when a fold's meaning changes: older snapshots are then not used."""

    def persist(self, *events: Any) -> EntityEffect[Self, None]:
        """Store events, all or none, and fold them into the state."""
        return guards.made(EntityEffect(events=events))

    def delete(self, *events: Any) -> EntityEffect[Self, None]:
        """Delete the entity after a last event or none: later commands are refused."""
        return guards.made(EntityEffect(events=events, deleted=True))


class KeyValueEntity(_Entity):
    """An entity that stores its whole state at every change, in the place of the one before."""

    keep_history: ClassVar[timedelta | None] = None
    """How long a state is kept after the next one has replaced it: so far back the entity can be asked
    as it was. None: it goes at once."""

    @property
    def revision(self) -> int:
        """Number of changes so far."""
        return self.sequence

    def update(self, **changes: Any) -> EntityEffect[Self, None]:
        """Replace fields of the state."""
        return guards.made(EntityEffect(changes=changes))

    def delete(self) -> EntityEffect[Self, None]:
        """Delete the entity: later commands are refused."""
        return guards.made(EntityEffect(deleted=True))
