"""The tables of a transform: a row for the state of each key, and one for each reset of a shard.

Place on the road: beneath the `transformer`. They are hidden: nobody but it reads or writes them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Final

from eventmill.engine.transforms.state import Stage, State
from eventmill.errors import HandlerFailed
from eventmill.model import limits
from eventmill.model.table import Affinity, PhysicalTable


def tables_of(transform: str) -> list[PhysicalTable]:
    """Return the tables of a transform: of its keys, and of its generations."""
    # '@' and ':' are in no id; tables of views begin with `v_`.
    return [
        PhysicalTable(
            f"t_{transform}@1:key",
            (("generation", Affinity.INTEGER), ("state", Affinity.TEXT)),
        ),
        PhysicalTable(f"t_{transform}@1:generation", (("number", Affinity.INTEGER),)),
    ]


class Unfit:
    """A row that this definition cannot read; who needs it gets the error."""

    def __init__(self, generation: int, error: HandlerFailed) -> None:
        self.generation = generation
        self.error = error


class _EachAlone(ABC):
    """Rows that have nothing to gain from being encoded together."""

    @abstractmethod
    def encode(self, key: str, row: Any) -> tuple[Any, ...]: ...

    @abstractmethod
    def size_of(self, stored: Sequence[Any]) -> int: ...

    def encode_all(self, rows: dict[str, Any]) -> list[tuple[Any, ...]]:
        return [self.encode(key, row) for key, row in rows.items()]

    def size_of_all(self, stored: list[tuple[Any, ...]]) -> int:
        return sum(map(self.size_of, stored))


class StateCodec(_EachAlone):
    """Rows of the states of keys."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    def encode(self, key: str, row: State) -> tuple[Any, ...]:
        stored = self._stage.encode(row)
        if len(stored) > limits.VIEW_ROW_BYTES_MAX:
            raise HandlerFailed(
                f"what is open of key {key!r} has {len(stored):,} bytes, "
                f"{limits.VIEW_ROW_BYTES_MAX:,} are possible: keep less in its aggregates; in a join, "
                "make within= and lateness= shorter, or its events smaller",
                code="transform.too_large",
            )
        return key, row.generation, stored.decode()

    def decode(self, values: tuple[Any, ...]) -> State | Unfit:
        generation, stored = values
        try:
            state: State = self._stage.decode(stored, generation)
        except HandlerFailed as error:
            return Unfit(generation, error)
        return state

    def size_of(self, stored: Sequence[Any]) -> int:
        return len(stored[0]) + len(stored[2]) + _ROW_BYTES


class GenerationCodec(_EachAlone):
    """Rows of numbers, by home shard: a state of an earlier one is void."""

    def encode(self, key: str, row: int) -> tuple[Any, ...]:
        return key, row

    def decode(self, values: tuple[Any, ...]) -> int:
        (number,) = values
        return int(number)

    def size_of(self, stored: Sequence[Any]) -> int:
        return _ROW_BYTES


_ROW_BYTES: Final = 32
