"""Schema: a view's tables, made from the struct types of their rows, and their rows' codec.

A table has a column per field, in the fields' order, and before them `_key`, the subject that the
row belongs to, which users never see: names that begin with `_` are the platform's. `kinds` says
how each type is kept. On the road: the projector encodes what a handler returned into a commit's
rows; a store writes them; queries compile against the same `Table`.

The codec is hot (a rebuild writes more than 75,000 rows a second): per row it runs one check in C
and Python code for the columns that need a conversion alone.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import itemgetter
from typing import Any, Final, Generic, TypeVar

import msgspec
from msgspec.structs import astuple

from eventmill.engine.views.kinds import (
    Conversion,
    FieldType,
    Kind,
    Stored,
    bounded,
    field_type,
    loading,
    storing,
)
from eventmill.errors import ConfigurationError, EventmillError, HandlerFailed
from eventmill.model import limits

R = TypeVar("R", bound=msgspec.Struct)

KEY: Final = "_key"
"""Column of the row's key, in every table."""


@dataclass(frozen=True)
class Column:
    """One field of a row."""

    name: str
    """The field's name in Python: what queries use."""
    json_name: str
    """Its name on the wire (`rename=`)."""
    type: FieldType

    @property
    def kind(self) -> Kind:
        """How its values are kept."""
        return self.type.kind

    @property
    def nullable(self) -> bool:
        """Whether it may hold NULL."""
        return self.type.nullable


@dataclass(frozen=True)
class Table:
    """A view's table by its logical name: what queries name, whatever version is behind it."""

    name: str
    columns: tuple[Column, ...]
    row: type[msgspec.Struct]

    def column(self, name: str) -> Column | None:
        """Find a column; case does not matter, as in SQL."""
        return self._by_name.get(name.lower())

    @cached_property
    def _by_name(self) -> dict[str, Column]:
        return {column.name.lower(): column for column in self.columns}


def table_of(row: type[msgspec.Struct], name: str, *, view: str) -> Table:
    """Make a table of a row type.

    Raises `ConfigurationError` with every problem, each naming view, row type and field.
    """
    place = f"view {view!r}, row {row.__qualname__}"
    problems: list[str] = []
    columns: dict[str, Column] = {}
    for field in _fields(row, place):
        where = f"{place}, field {field.name!r}"
        if field.name.startswith("_"):
            problems.append(f"{where}: names that begin with '_' are reserved; rename it")
        if field.name.lower() in columns:
            problems.append(f"{where}: another field's name differs in case alone; rename one")
        try:
            kind = field_type(field.type)
        except TypeError as error:
            problems.append(f"{where}: its type has no column: {error}")
            continue
        columns[field.name.lower()] = Column(field.name, field.encode_name, kind)
    problems += _row_problems(row, place, len(columns))
    if problems:
        raise ConfigurationError("\n".join(problems), details={"problems": problems})
    return Table(name, tuple(columns.values()), row)


class RowCodec(Generic[R]):
    """Turns rows of one table into tuples of column values and back."""

    def __init__(self, row: type[R], table: Table, *, view: str) -> None:
        self.row = row
        self.place = f"view {view!r}, row {row.__qualname__}"
        columns = table.columns
        self._names = [column.name for column in columns]
        self._storing = _conversions(columns, storing)
        self._loading = _conversions(columns, loading)
        texts = [i for i, column in enumerate(columns) if _is_free_text(column)]
        self._texts = itemgetter(*texts) if texts else None
        self._long = [i for i, column in enumerate(columns, 1) if _is_long(column)]
        self._checked = msgspec.defstruct(
            "Checked",
            [(column.name, bounded(column.type)) for column in columns],
            array_like=True,
        )
        self._checked_all = list[self._checked]  # type: ignore[name-defined]
        self._make = row if _takes_positions(row) else self._by_name

    def encode(self, key: str, row: R) -> tuple[Stored, ...]:
        """Return the key and the column values of a row, checked against the row's types.

        Raises `HandlerFailed` that names the field: a handler returned a row with a wrong value.
        """
        if type(row) is not self.row:
            raise HandlerFailed(
                f"{self.place}: the handler returned {type(row).__qualname__}", code="view.row"
            )
        index = -1
        try:
            values = astuple(msgspec.convert(astuple(row), self._checked))
            if self._texts is not None and len(_encode(self._texts(values))) > _BYTES_MAX:
                raise ValueError(f"more than {_BYTES_MAX} bytes of text")
            if not self._storing:
                return (key, *values)
            stored = [key, *values]
            for index, store in self._storing:
                value = values[index]
                if value is not None:
                    stored[index + 1] = store(value)
            index = -1
            if self._long and self.size_of(stored) > limits.VIEW_ROW_BYTES_MAX:
                raise ValueError(f"more than {limits.VIEW_ROW_BYTES_MAX} bytes")
        except (
            msgspec.MsgspecError,
            EventmillError,
            ValueError,
            TypeError,
            OverflowError,
        ) as error:
            raise self._refused(row, index, error) from error
        return tuple(stored)

    def encode_all(self, rows: dict[str, R]) -> list[tuple[Stored, ...]]:
        """Return what `encode` makes of each row by key.

        Raises `HandlerFailed` as that.
        """
        checked = None if self._storing else self._check_all(list(rows.values()))
        if checked is None:
            return [self.encode(key, row) for key, row in rows.items()]
        return [(key, *values) for key, values in zip(rows, checked, strict=True)]

    def _check_all(self, rows: list[R]) -> list[tuple[Any, ...]] | None:
        """Return the values of rows that are all fine; None leaves it to `encode` to say."""
        if set(map(type, rows)) != {self.row}:
            return None
        try:
            checked = msgspec.convert(list(map(astuple, rows)), self._checked_all)
            values = list(map(astuple, checked))
            if self._texts is not None and len(_encode([*map(self._texts, values)])) > _BYTES_MAX:
                return None
        except (msgspec.MsgspecError, ValueError, TypeError, OverflowError):
            return None
        return values

    def size_of_all(self, stored: list[tuple[Stored, ...]]) -> int:
        """Return the size of rows together."""
        if self._long:
            return sum(map(self.size_of, stored))
        keys: list[Any] = [row[0] for row in stored]
        return sum(map(len, keys)) + 8 * sum(map(len, stored))

    def size_of(self, stored: Sequence[Any]) -> int:
        """Return roughly how many bytes a key and its column values have."""
        size = len(stored[0]) + 8 * len(stored)
        for index in self._long:
            value = stored[index]
            if value is not None:
                size += len(value)
        return size

    def decode(self, values: tuple[Stored, ...]) -> R:
        """Return the row of the column values (without the key) that `encode` made."""
        if not self._loading:
            return self._make(*values)
        fields: list[Any] = list(values)
        for index, load in self._loading:
            value = fields[index]
            if value is not None:
                fields[index] = load(value)
        return self._make(*fields)

    def _by_name(self, *values: Any) -> R:
        return self.row(**dict(zip(self._names, values, strict=True)))

    def _refused(self, row: R, index: int, error: Exception) -> HandlerFailed:
        """Tell which field; off the fast path."""
        if index < 0:
            index, error = self._culprit(row, error)
        where = f", field {self._names[index]!r}" if index >= 0 else ""
        return HandlerFailed(
            f"{self.place}{where}: the handler's value cannot be kept: {error}", code="view.row"
        )

    def _culprit(self, row: R, error: Exception) -> tuple[int, Exception]:
        for index, field in enumerate(msgspec.structs.fields(self._checked)):
            value = getattr(row, field.name)
            try:
                msgspec.convert(value, field.type)
                _encode(value if isinstance(value, str) else None)
            except (msgspec.MsgspecError, ValueError, TypeError) as found:
                return index, found
        return -1, error


_BYTES_MAX = limits.PAYLOAD_BYTES_MAX
_encode = msgspec.json.Encoder().encode


def _fields(row: type[msgspec.Struct], place: str) -> tuple[msgspec.structs.FieldInfo, ...]:
    try:
        return msgspec.structs.fields(row)
    except (NameError, TypeError) as error:
        raise ConfigurationError(f"{place}: annotation not understood: {error}") from error


def _row_problems(row: type[msgspec.Struct], place: str, columns: int) -> list[str]:
    problems = []
    if not columns:
        problems.append(f"{place}: a row needs at least one field")
    if columns > limits.VIEW_COLUMNS_MAX:
        problems.append(f"{place}: {columns} fields; at most {limits.VIEW_COLUMNS_MAX}")
    if row.__struct_config__.array_like:
        problems.append(f"{place}: array_like=True is not possible: columns have names")
    return problems


def _conversions(columns: tuple[Column, ...], make: Any) -> list[tuple[int, Conversion]]:
    made = [(index, make(column.type)) for index, column in enumerate(columns)]
    return [(index, conversion) for index, conversion in made if conversion is not None]


def _is_free_text(column: Column) -> bool:
    # Such text may be too long, or hold surrogates that no store takes; enums cannot.
    return column.kind is Kind.TEXT and column.type.enum is None


def _is_long(column: Column) -> bool:
    # Kept as text of any length; the text of all other kinds is short.
    return _is_free_text(column) or column.kind in (Kind.BYTES, Kind.DECIMAL, Kind.JSON)


def _takes_positions(row: type[msgspec.Struct]) -> bool:
    """Whether all fields can be given by position (none is `kw_only`), in the fields' order."""
    parameters = inspect.signature(row).parameters.values()
    return not any(parameter.kind is parameter.KEYWORD_ONLY for parameter in parameters)
