"""Maps: replicated values by key, and the three that are wanted most.

A key is there as long as something is under it; removing it takes away what its node has seen, and
a change that it has not seen survives (the OR-map of Almeida, Shoker, Baquero 2018, section 7.3, one
context for all of it). So a value that was removed does not come back when its key is used anew, as
it does in maps that keep values beside a set of keys. What survives of a counter is the whole count
of the node that counted on meanwhile: its count is one entry.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar, Generic, Self, TypeVar

from eventmill.model.replicated.change import Change
from eventmill.model.replicated.counters import PNCounter
from eventmill.model.replicated.registers import Clock, LWWRegister
from eventmill.model.replicated.sets import ORSet, remove
from eventmill.model.replicated.value import Kind, Texts, Value, check_hashable, kind_of

K = TypeVar("K")
T = TypeVar("T")
V = TypeVar("V", bound=Value)


class ORMap(Value, Generic[K, V]):
    """Replicated values by key. `map[key]` is there for every key, empty if nothing was put there."""

    __slots__ = ()

    parameters: ClassVar[tuple[str, ...]] = ("K", "V")

    @classmethod
    def kind(cls, arguments: tuple[Any, ...], template: Any) -> Kind[Any]:
        return cls._of(arguments[0], kind_of(arguments[1]), template)

    @classmethod
    def _of(cls, key: Any, inner: Kind[Any], template: Any) -> Kind[Any]:
        check_hashable(key)
        return Kind(cls, Texts(key), inner, template)

    @property
    def value(self) -> dict[K, Any]:
        """Plain data by key."""
        return {key: value.value for key, value in self.items()}

    def __getitem__(self, key: K) -> V:
        assert self._kind.inner is not None
        found: V = self._kind.inner.at(self._state, (*self._path, self._texts.write(key)))
        return found

    def __contains__(self, key: K) -> bool:
        return self._texts.write(key) in self._map

    def __iter__(self) -> Iterator[K]:
        return map(self._texts.read, [*self._map])

    def __len__(self) -> int:
        return len(self._map)

    def items(self) -> Iterator[tuple[K, V]]:
        """Yield keys and values."""
        for key in self:
            yield key, self[key]

    def remove(self, *keys: K) -> Change:
        """Take keys out, with what this node has seen under them; missing ones are fine."""
        return Change(remove, self._path, ([self._texts.write(key) for key in keys],))


class CounterMap(ORMap[K, PNCounter]):
    """Counters by key."""

    __slots__ = ()

    parameters: ClassVar[tuple[str, ...]] = ("K",)

    @classmethod
    def kind(cls, arguments: tuple[Any, ...], template: Any) -> Kind[Any]:
        return cls._of(arguments[0], kind_of(PNCounter), template)

    @property
    def value(self) -> dict[K, int]:
        """The counts by key."""
        return super().value

    def increment(self, key: K, amount: int = 1) -> Change:
        """Count up for a key."""
        return self[key].increment(amount)

    def decrement(self, key: K, amount: int = 1) -> Change:
        """Count down for a key."""
        return self[key].decrement(amount)


class RegisterMap(ORMap[K, LWWRegister[T]], Generic[K, T]):
    """Values by key, the last write of each wins. Parameter: `clock` says what "last" means."""

    __slots__ = ("_clock",)

    parameters: ClassVar[tuple[str, ...]] = ("K", "T")

    def __init__(self, clock: Clock = "default") -> None:
        super().__init__()
        self._clock = clock

    def copied(self) -> Self:
        new = super().copied()
        new._clock = self._clock
        return new

    @classmethod
    def kind(cls, arguments: tuple[Any, ...], template: Any) -> Kind[Any]:
        template = template or cls()
        register: Any = LWWRegister(None, template._clock)
        inner = Kind(LWWRegister, Texts(arguments[1]), template=register)
        return cls._of(arguments[0], inner, template)

    @property
    def value(self) -> dict[K, T]:
        """The values by key."""
        return super().value

    def get(self, key: K) -> T | None:
        """Return the value of a key, None if there is none."""
        return self[key].value if key in self else None

    def set(self, key: K, value: T) -> Change:
        """Write the value of a key.

        Raises `TypeError` for one of another type.
        """
        return self[key].set(value)


class MultiMap(ORMap[K, ORSet[T]], Generic[K, T]):
    """Several values for each key."""

    __slots__ = ()

    parameters: ClassVar[tuple[str, ...]] = ("K", "T")

    @classmethod
    def kind(cls, arguments: tuple[Any, ...], template: Any) -> Kind[Any]:
        key, element = arguments
        return cls._of(key, ORSet.kind((element,), None), template)

    @property
    def value(self) -> dict[K, set[T]]:
        """The values by key."""
        return super().value

    def add(self, key: K, *elements: T) -> Change:
        """Put values in for a key."""
        return self[key].add(*elements)

    def discard(self, key: K, *elements: T) -> Change:
        """Take values of a key out, as far as this node has seen them; missing ones are fine."""
        return self[key].remove(*elements)
