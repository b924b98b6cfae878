"""Opening a version of a view: its tables, its queries, and the subscription that fills it.

Place on the road: between the versions of `view` and the `projector` that fills one of them.

Invariant: a version that is opened has answered a probe of every query, so that what a store
refuses fails at start, not at a request.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from eventmill.engine.views.compiled import PlacedQuery
from eventmill.engine.views.definition import CompiledView
from eventmill.engine.views.placement import names_on, tables_on
from eventmill.engine.views.schema import RowCodec, Table
from eventmill.engine.views.versions import Version, misfit
from eventmill.errors import ConfigurationError, RequestError
from eventmill.model import limits
from eventmill.model.definition import ViewDefinition
from eventmill.ports.clock import Clock
from eventmill.ports.store import Store
from eventmill.runtime.dispatch.roster import Roster
from eventmill.runtime.dispatch.tails import Tails
from eventmill.runtime.facts import Facts
from eventmill.runtime.folding.rows import TableRows
from eventmill.runtime.supervisor import Supervisor
from eventmill.runtime.views.projector import Projector
from eventmill.runtime.views.state import Running, Stopped

if TYPE_CHECKING:
    from eventmill.runtime.runtime import Runtime


@dataclass(frozen=True)
class Surroundings:
    """What views need of their node."""

    store: Store
    tails: Tails
    clock: Clock
    supervisor: Supervisor
    facts: Facts
    roster: Roster
    in_use_elsewhere: Callable[[], Awaitable[set[str]]]
    """Asks the other nodes which subscriptions and versions of views they have."""
    shared: bool
    """Whether there may be other nodes."""

    @classmethod
    def of(cls, runtime: Runtime, *, shared: bool) -> Surroundings:
        """Return them as a node has them."""
        return cls(
            runtime.store,
            runtime.tails,
            runtime.clock,
            runtime.supervisor,
            runtime.facts,
            runtime.roster,
            runtime.in_use_elsewhere,
            shared,
        )


class Opener:
    """Opens versions of one view.

    Parameters: `changed` is called with a version's number when its rows have changed.
    """

    def __init__(
        self,
        definition: ViewDefinition,
        compiled: CompiledView,
        node: Surroundings,
        changed: Callable[[int], None],
    ) -> None:
        self._definition = definition
        self._compiled = compiled
        self._node = node
        self._changed = changed
        self.sources = frozenset(handler.source.id for handler in definition.handlers)

    def name(self, number: int) -> str:
        """Return the name of a version's subscription."""
        return f"{self._compiled.id}@{number}"

    async def run(self, number: int) -> Running:
        """Open a version of this definition; it is filled from now on.

        Raises `ConfigurationError` if the store refuses a query.
        """
        await self._node.store.views.prepare(tables_on(self._compiled, number))
        queries = await self._placed(number)
        names, store = names_on(self._compiled, number), self._node.store.views
        # Rows come with offsets. In several shards other nodes write rows, too.
        is_new = self._node.store.placement.shards == 1 and not await self._position(number)
        tables = {
            name: TableRows(names[name], self._codec(table), store, is_new=is_new)
            for name, table in self._compiled.tables.items()
        }
        projector = Projector(self._definition, tables, lambda: self._changed(number))
        subscription = await self._node.roster.subscribe(self.name(number), projector)
        return Running(number, queries, subscription)

    async def stopped(self, number: int, version: Version) -> tuple[str, Stopped | None]:
        """Open a version of another definition as it is, or tell why it cannot answer."""
        reason = misfit(version, self._compiled)
        if reason is not None:
            return f"version {number} does not answer meanwhile: {reason}", None
        try:
            if not self._node.shared:  # else its indexes are for the queries of other nodes
                await self._node.store.views.prepare(tables_on(self._compiled, number))
            queries = await self._placed(number)
        except ConfigurationError as error:
            return f"version {number} does not answer meanwhile: {error.message}", None
        return "", Stopped(number, queries, await self._position(number))

    def _codec(self, table: Table) -> RowCodec[Any]:
        return RowCodec(table.row, table, view=self._compiled.id)

    async def _position(self, number: int) -> int:
        offsets = await self._node.store.offsets()
        return sum(at for (owner, _), at in offsets.items() if owner == self.name(number))

    async def _placed(self, number: int) -> dict[str, PlacedQuery]:
        names = names_on(self._compiled, number)
        queries = {
            name: query.on(names, self._node.store.views.dialect)
            for name, query in self._compiled.queries.items()
        }
        for query in queries.values():
            await self._probe(query)
        return queries

    async def _probe(self, query: PlacedQuery) -> None:
        for probe in query.probes():
            try:
                await self._node.store.views.query(
                    probe.sql, probe.bindings, seconds=limits.VIEW_QUERY_SECONDS
                )
            except RequestError as error:
                raise ConfigurationError(
                    f"view {self._compiled.id!r}, query {query.query.name!r}: {error.message}"
                ) from error
