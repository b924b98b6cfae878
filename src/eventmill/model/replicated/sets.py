"""Sets: elements that are only added, or added and removed where an addition wins.

Each element is a leaf of dots without values: it is in as long as one of them is there (the
add-wins observed-remove set with a causal context: Bieniusa et al. 2012; Almeida, Shoker, Baquero
2018, section 7.1). A removal takes the dots that its node has seen; an addition that it has not seen
survives.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar, Generic, TypeVar

from eventmill.model.replicated.causal import Path, Writer
from eventmill.model.replicated.change import Change
from eventmill.model.replicated.value import Kind, Texts, Value, check_hashable

T = TypeVar("T")


class _Set(Value, Generic[T]):
    __slots__ = ()

    parameters: ClassVar[tuple[str, ...]] = ("T",)

    @classmethod
    def kind(cls, arguments: tuple[Any, ...], template: Any) -> Kind[Any]:
        check_hashable(arguments[0])
        return Kind(cls, Texts(arguments[0]))

    @property
    def value(self) -> set[T]:
        """The elements, as a set of the caller's own."""
        return set(self)

    def __contains__(self, element: T) -> bool:
        return self._texts.write(element) in self._map

    def __iter__(self) -> Iterator[T]:
        return map(self._texts.read, [*self._map])

    def __len__(self) -> int:
        return len(self._map)

    def _written(self, elements: tuple[T, ...]) -> list[str]:
        return [self._texts.write(element) for element in elements]


class GSet(_Set[T]):
    """A set that only grows."""

    __slots__ = ()

    def add(self, *elements: T) -> Change:
        """Put elements in.

        Raises `TypeError` for one of another type.
        """
        texts = self._written(elements)
        return Change(_add_missing, self._path, (texts,), sum(map(len, texts)))


class ORSet(_Set[T]):
    """A set whose elements come and go: of an addition and a removal that do not know of each other,
    the addition wins."""

    __slots__ = ()

    def add(self, *elements: T) -> Change:
        """Put elements in.

        Raises `TypeError` for one of another type.
        """
        texts = self._written(elements)
        return Change(add, self._path, (texts,), sum(map(len, texts)))

    def remove(self, *elements: T) -> Change:
        """Take elements out, as far as this node has seen them come in; missing ones are fine."""
        return Change(remove, self._path, (self._written(elements),))

    def clear(self) -> Change:
        """Take out all elements that this node sees."""
        return Change(_clear, self._path)


def _add_missing(writer: Writer, path: Path, texts: list[str]) -> None:
    for text in texts:
        if not writer.state.find((*path, text)):
            writer.put((*path, text), ())


def add(writer: Writer, path: Path, texts: list[str]) -> None:
    """Put elements in. What is there already gets a new dot, so that it outlives a removal that
    knows of the old ones only."""
    for text in texts:
        place = (*path, text)
        writer.put(place, (), [*writer.state.leaf(place)])


def remove(writer: Writer, path: Path, texts: list[str]) -> None:
    """Take elements, or keys with all that is under them, out."""
    for text in texts:
        writer.drop((*path, text))


def _clear(writer: Writer, path: Path) -> None:
    writer.drop(path)
