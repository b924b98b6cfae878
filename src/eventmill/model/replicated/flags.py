"""Flag and vote: yes or no, by one node or by many voters.

The flag is the enable-wins flag of the literature (Baquero, Almeida, Lerche: *The problem with
embedded CRDT counters and a solution*, PaPoC 2016, table of dot stores): a set of one element. The
vote has a last-writer-wins register per voter. In Kalix a vote's voters are its nodes; nodes come
and go and nobody writes code for one of them, so here voters have names.
"""

from __future__ import annotations

from eventmill.model.replicated.causal import Leaf, Path, Writer
from eventmill.model.replicated.change import Change
from eventmill.model.replicated.registers import latest, write
from eventmill.model.replicated.sets import remove
from eventmill.model.replicated.value import Value


class Flag(Value):
    """A flag: of `enable` and `disable` that do not know of each other, `enable` wins."""

    __slots__ = ()

    @property
    def value(self) -> bool:
        """Whether it is set."""
        return bool(self._state.leaf(self._path))

    def enable(self) -> Change:
        """Set it."""
        return Change(_enable, self._path)

    def disable(self) -> Change:
        """Take it back, as far as this node has seen it set."""
        return Change(_disable, self._path)


class Vote(Value):
    """Voters say yes or no, and may change their minds: the last word of each counts."""

    __slots__ = ()

    @property
    def value(self) -> dict[str, bool]:
        """What each voter said last."""
        found = {}
        for voter, leaf in self._map.items():
            said = latest(leaf) if isinstance(leaf, Leaf) else None
            if said is not None:
                found[voter] = said[1] == _YES
        return found

    @property
    def in_favour(self) -> int:
        """How many said yes."""
        return sum(self.value.values())

    @property
    def against(self) -> int:
        """How many said no."""
        return len(self._map) - self.in_favour

    def is_majority(self, voters: int | None = None) -> bool:
        """Whether more than half said yes: of so many voters, or of those that voted."""
        return 2 * self.in_favour > (len(self._map) if voters is None else voters)

    def is_unanimous(self, voters: int | None = None) -> bool:
        """Whether all said yes, and there is one at least."""
        return 0 < self.in_favour == (len(self._map) if voters is None else voters)

    def cast(self, voter: str, in_favour: bool = True) -> Change:
        """Say yes or no for a voter."""
        text = _YES if in_favour else _NO
        return Change(write, (*self._path, voter), (text, "default"), len(voter))

    def withdraw(self, voter: str) -> Change:
        """Take a voter's word back."""
        return Change(remove, self._path, ([voter],))


_YES, _NO = "true", "false"


def _enable(writer: Writer, path: Path) -> None:
    writer.put(path, (), [*writer.state.leaf(path)])


def _disable(writer: Writer, path: Path) -> None:
    writer.drop(path)
