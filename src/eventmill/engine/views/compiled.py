"""Compiled queries: their statements on one version of the tables, and what comes back.

Last station. On the road of a request: arguments → `PlacedQuery.statement` → a store's reader →
`decode` (in process), `reply` (over HTTP) or `items` (streaming). Nothing here reads or waits. No
result is cut short silently: beyond the limit there is an error that says what to do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import msgspec
from sqlglot import exp

from eventmill.engine.views import paging, postgres, rendering
from eventmill.engine.views.kinds import FieldType, Stored
from eventmill.engine.views.names import Bound
from eventmill.engine.views.parameters import Binder
from eventmill.engine.views.result import Cardinality, Output, Result
from eventmill.errors import EventmillError, HandlerFailed, NotFound, RequestError, TooLarge
from eventmill.model import codec, limits
from eventmill.model.page import Page

T = TypeVar("T")

_NULL = b"null"

_RENDERINGS = {"sqlite": rendering, "postgres": postgres}
"""By the dialect of a store."""


@dataclass(frozen=True)
class CompiledQuery:
    """A checked query. The same for every version of its view's tables."""

    view: str
    name: str
    sql: str
    """As the user wrote it."""
    bound: Bound
    parameters: dict[str, FieldType]
    result: Result
    outputs: tuple[Output, ...]
    sort_keys: tuple[paging.SortKey, ...]
    """Order of its pages; empty: it has none, or pages by offset."""

    @property
    def tables(self) -> frozenset[str]:
        """Logical names of the tables it reads: a live query runs again when one changes."""
        return frozenset(self.bound.tables)

    @property
    def is_paged(self) -> bool:
        """Whether it answers a `Page`."""
        return self.result.cardinality is Cardinality.PAGE

    def on(self, physical: Mapping[str, str], dialect: str = "sqlite") -> PlacedQuery:
        """Place it on one version of the tables. Do so once per version: it makes SQL text.

        Parameters: `physical` gives the physical name of each logical table, `dialect` is that of
        the store.
        """
        return PlacedQuery(self, physical, dialect)


@dataclass(frozen=True, slots=True)
class Statement:
    """What a store's reader runs: it answers one row of one column, a JSON text."""

    sql: str
    bindings: dict[str, Stored]
    """By name, for the `:name`s of the SQL."""
    limit: int
    """Items that the answer may have."""
    mark: bytes = b""
    """Of a page: fingerprint of query and arguments."""
    offset: int = 0


class PlacedQuery:
    """A compiled query on one version of its view's tables."""

    def __init__(self, query: CompiledQuery, physical: Mapping[str, str], dialect: str) -> None:
        self.query = query
        self._place = f"view {query.view!r}, query {query.name!r}"
        self._cardinality = query.result.cardinality
        self._keys = query.sort_keys
        own = frozenset({paging.TOKEN, paging.SIZE}) if query.is_paged else frozenset[str]()
        self._binder = Binder(self._place, query.parameters, own)
        self._decode = codec.decoder(_answer_of(query.result.item)).decode
        said = _RENDERINGS[dialect]
        tree = said.placed(query.bound.tree, physical, query.parameters)
        if query.is_paged:
            self._sql, self._next_sql = _page_texts(query, tree, said.answer_sql)
        else:
            self._sql = said.answer_sql(rendering.limited(tree), query.outputs)
            self._next_sql = self._sql

    def __repr__(self) -> str:
        return f"<PlacedQuery {self.query.view}.{self.query.name}>"

    def statement(
        self, arguments: Sequence[Any], *, limit: int = limits.VIEW_ROWS_COLLECTED_MAX
    ) -> Statement:
        """Return the statement of a call.

        Parameters: `arguments` are validated, in the method's order; `limit` is the number of
        items allowed, which a page's size and a single result overrule.

        Raises `InvalidPayload` for an argument that cannot be bound, `RequestError` for a page
        token or size that does not fit.
        """
        bindings = self._binder.bind(arguments)
        if self._cardinality is Cardinality.PAGE:
            return self._page_statement(bindings)
        if self._cardinality is not Cardinality.MANY:
            limit = 1
        bindings[rendering.LIMIT] = limit + 1
        return Statement(self._sql, bindings, limit)

    def probes(self) -> list[Statement]:
        """Return statements that read nothing: a store that runs them has understood the SQL.

        For the start: what the checks let pass and a store refuses fails there, not at a request.
        """
        texts = {self._sql, self._next_sql}
        names = [*self.query.parameters, *paging.sort_columns(self._keys), paging.OFFSET]
        bindings: dict[str, Stored] = dict.fromkeys(names)
        return [Statement(text, {**bindings, rendering.LIMIT: 0}, 0) for text in sorted(texts)]

    def decode(self, statement: Statement, answer: str | bytes) -> Any:
        """Return the method's result from what the store answered.

        Raises `TooLarge` if there are more items than allowed, `NotFound` if there is none where
        one is declared, `HandlerFailed` if the answer does not fit the declared type.
        """
        try:
            found = self._decode(answer)
        except msgspec.DecodeError as error:
            raise HandlerFailed(
                f"{self._place}: the answer does not fit the declared type: {error}",
                code="view.result",
            ) from error
        if self._cardinality is Cardinality.PAGE:
            return self._page(statement, found)
        if found.count > statement.limit:
            raise self._overflow(statement.limit)
        if self._cardinality is Cardinality.MANY:
            return found.items
        if found.items:
            return found.items[0]
        if self._cardinality is Cardinality.OPTIONAL:
            return None
        raise NotFound(f"{self._place}: there is no such row", code="view.not_found")

    def reply(self, statement: Statement, answer: str | bytes) -> bytes:
        """Return the result as JSON: the store's own text, once it has been validated.

        Raises what `decode` raises.
        """
        result = self.decode(statement, answer)
        if self._cardinality is Cardinality.PAGE:
            return codec.encode(result)
        if result is None:
            return _NULL
        text = answer.encode() if isinstance(answer, str) else answer
        items = text[text.index(b",") + 1 : -1]
        return items if self._cardinality is Cardinality.MANY else items[1:-1]

    def items(self, statement: Statement, answer: str | bytes) -> list[bytes]:
        """Return the JSON of each item: to stream them, or to tell which have changed.

        An optional result that is missing has none. Raises what `decode` raises.
        """
        self.decode(statement, answer)
        return [bytes(item) for item in _decode_raw(answer).items[: statement.limit]]

    def _page_statement(self, bindings: dict[str, Stored]) -> Statement:
        token, size = bindings.pop(paging.TOKEN), bindings.pop(paging.SIZE, None)
        size = limits.VIEW_PAGE_ROWS if size is None else size
        if not isinstance(size, int) or not 0 < size <= limits.VIEW_ROWS_COLLECTED_MAX:
            raise RequestError(
                f"{self._place}: page_size is 1 to {limits.VIEW_ROWS_COLLECTED_MAX}, not {size}",
                code="view.page_size",
            )
        mark = paging.fingerprint(f"{self.query.view}.{self.query.name}:{self.query.sql}", bindings)
        bindings[rendering.LIMIT] = size + 1
        if not token:
            return Statement(self._sql, bindings, size, mark)
        position = paging.read_token(str(token), mark, self._keys)
        bindings.update(paging.position_bindings(position, self._keys))
        offset = position if isinstance(position, int) else 0
        return Statement(self._next_sql, bindings, size, mark, offset)

    def _page(self, statement: Statement, found: _Answer[Any]) -> Page[Any]:
        size = statement.limit
        if found.count <= size:
            return Page(found.items)
        position: int | list[Stored] = statement.offset + size
        if self._keys:
            position = list(found.sort_values[size - 1])
        return Page(found.items[:size], paging.make_token(statement.mark, position))

    def _overflow(self, limit: int) -> EventmillError:
        if self._cardinality is Cardinality.MANY:
            return TooLarge(
                f"{self._place}: there are more than {limit} rows; stream them, narrow the "
                "arguments, declare the result as a Page, or write a LIMIT",
                code="view.rows",
                details={"limit": limit},
            )
        return HandlerFailed(
            f"{self._place}: there is more than one row; declare a list, or write LIMIT 1",
            code="view.rows",
        )


class _Answer(msgspec.Struct, Generic[T], array_like=True):
    """What the SQL answers."""

    count: int
    items: list[T]
    sort_values: list[list[str | int | float | None]] = []


_decode_raw = msgspec.json.Decoder(_Answer[msgspec.Raw]).decode


def _answer_of(item: Any) -> Any:
    return _Answer[item]


def _page_texts(
    query: CompiledQuery, tree: exp.Query, answer_sql: Callable[..., str]
) -> tuple[str, str]:
    keys, columns = query.sort_keys, paging.sort_columns(query.sort_keys)
    first = paging.first_page(tree, keys)
    begun = paging.next_page(first, keys)
    return (
        answer_sql(rendering.with_limit(first), query.outputs, columns),
        answer_sql(rendering.with_limit(begun), query.outputs, columns),
    )
