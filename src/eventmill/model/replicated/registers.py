"""Registers: one value, of which the last writer or all concurrent ones decide.

A write takes the place of what its writer saw (a multi-value register: Almeida, Shoker, Baquero 2018,
section 7.2). `LWWRegister` carries a clock besides and shows the largest one, as the LWW-register of
RR-7506 and that of Akka Distributed Data do; a write whose clock is behind does nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Final, Generic, Literal, Self, TypeVar

from eventmill.model.replicated.causal import Leaf, Path, Writer
from eventmill.model.replicated.change import Change
from eventmill.model.replicated.value import Kind, Texts, Value

T = TypeVar("T")

Clock = Literal["default", "reverse"] | Callable[[int, Any], int]
"""`default`: the wall clock, and always after the write that is replaced: the last write wins.
`reverse`: the first write wins. Or a function of the clock before (0 at first) and of the new
value: the largest clock wins, as with a version that is part of the value."""

_BEGINNING: Final = 0


class LWWRegister(Value, Generic[T]):
    """One value: the last write wins.

    Parameters: `initial` is the value before the first write; `clock` says what "last" means.
    """

    __slots__ = ("_clock", "_initial")

    parameters: ClassVar[tuple[str, ...]] = ("T",)

    def __init__(self, initial: T, clock: Clock = "default") -> None:
        super().__init__()
        if not callable(clock) and clock not in ("default", "reverse"):
            raise ValueError(f"clock= is 'default', 'reverse' or a function, not {clock!r}")
        self._initial = initial
        self._clock = clock

    def copied(self) -> Self:
        new = super().copied()
        new._initial, new._clock = self._initial, self._clock
        return new

    @classmethod
    def kind(cls, arguments: tuple[Any, ...], template: Any) -> Kind[Any]:
        texts: Texts[Any] = Texts(arguments[0])
        try:
            texts.write(None if template is None else template._initial)
        except TypeError:
            raise TypeError(
                "a register needs its value before the first write: `= LWWRegister(…)`; in a map "
                "use RegisterMap"
            ) from None
        return Kind(cls, texts, template=template or _unwritten(cls))

    @property
    def value(self) -> T:
        """What was written last, or the initial value."""
        found: T = self._initial
        if written := latest(self._state.leaf(self._path)):
            found = self._texts.read(written[1])
        return found

    def set(self, value: T) -> Change:
        """Write a value.

        Raises `TypeError` for one of another type.
        """
        text = self._texts.write(value)
        clock: str | int
        if callable(self._clock):
            written = latest(self._state.leaf(self._path))
            clock = int(self._clock(written[0] if written else _BEGINNING, value))
        else:
            clock = self._clock
        return Change(write, self._path, (text, clock), len(text))


class MVRegister(Value, Generic[T]):
    """One value, or several if they were written concurrently: none is lost."""

    __slots__ = ()

    parameters: ClassVar[tuple[str, ...]] = ("T",)

    @classmethod
    def kind(cls, arguments: tuple[Any, ...], template: Any) -> Kind[Any]:
        return Kind(cls, Texts(arguments[0]))

    @property
    def value(self) -> list[T]:
        """What was written last: nothing at first, several values if nodes wrote concurrently."""
        texts = [text for _, (text,) in sorted(self._state.leaf(self._path).items())]
        return [self._texts.read(text) for text in dict.fromkeys(texts)]

    def set(self, value: T) -> Change:
        """Write a value, in the place of all that this node sees.

        Raises `TypeError` for one of another type.
        """
        text = self._texts.write(value)
        return Change(_replace, self._path, (text,), len(text))


def _unwritten(cls: Any) -> Any:
    """Return a register whose value is None before the first write."""
    return cls(None)


def latest(leaf: Leaf) -> tuple[Any, ...] | None:
    """Return clock and text of the write that wins; of equal clocks, that of the larger dot."""
    if not leaf:
        return None
    return max((value[0], dot, value) for dot, value in leaf.items())[2]


def write(writer: Writer, path: Path, text: str, clock: int | str) -> None:
    leaf = writer.state.leaf(path)
    written = latest(leaf)
    if clock == "default":
        clock = max(writer.now, written[0] + 1) if written else writer.now
    elif clock == "reverse":
        clock = -writer.now
        if written is not None:
            return
    assert isinstance(clock, int)
    if written is None or clock > written[0]:
        writer.put(path, (clock, text), [*leaf])


def _replace(writer: Writer, path: Path, text: str) -> None:
    writer.put(path, (text,), [*writer.state.leaf(path)], grows=False)
