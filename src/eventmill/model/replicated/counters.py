"""Counters: every node counts for itself, the value is the sum.

Each actor has one entry, its own total under its latest dot (a causal, "resettable" counter: Almeida,
Shoker, Baquero 2018, section 7.3; in a map its key can be removed). Read from many nodes it is the
G-counter and PN-counter of Shapiro et al.: *A comprehensive study of convergent and commutative
replicated data types*, INRIA RR-7506, 2011.
"""

from __future__ import annotations

from eventmill.model.replicated.causal import Writer
from eventmill.model.replicated.change import Change
from eventmill.model.replicated.value import Value

COUNT_MAX = (1 << 63) - 1
"""What one operation may add: beyond it the JSON of many languages ends."""


class GCounter(Value):
    """A counter that only grows."""

    __slots__ = ()

    @property
    def value(self) -> int:
        """The sum of what all nodes have counted."""
        sum = 0
        for total in self._state.leaf(self._path).values():
            sum += total[0]
        return sum

    def increment(self, amount: int = 1) -> Change:
        """Count up.

        Raises `ValueError` for a negative amount.
        """
        return Change(Writer.count, self._path, (_checked(amount), 0))


class PNCounter(Value):
    """A counter that goes up and down."""

    __slots__ = ()

    @property
    def value(self) -> int:
        """What all nodes have counted up, less what they have counted down."""
        sum = 0
        for up, down in self._state.leaf(self._path).values():
            sum += up - down
        return sum

    def increment(self, amount: int = 1) -> Change:
        """Count up, or down by a negative amount."""
        if amount < 0:
            return self.decrement(-amount)
        return Change(Writer.count, self._path, (_checked(amount), 0))

    def decrement(self, amount: int = 1) -> Change:
        """Count down, or up by a negative amount."""
        if amount < 0:
            return self.increment(-amount)
        return Change(Writer.count, self._path, (0, _checked(amount)))


def _checked(amount: int) -> int:
    if type(amount) is not int or not 0 <= amount <= COUNT_MAX:
        raise ValueError(f"a counter counts by a whole number, 0 to {COUNT_MAX}: {amount!r}")
    return amount
