"""Views: versions of their tables, rebuilds beside the running version, queries and live queries.

Place on the road: after dispatch. A view's rows belong to a version: a set of tables and the
subscription that fills them. A changed definition, or `rebuild`, starts a new version from the
beginning of the journal; when it has caught up, one commit makes it the live one. During a
`rebuild` the old version serves; one of another definition does not: queries answer `Unavailable`
until the new version is live.

Invariants: rows of two definitions are never in one table; queries read the live version only; a
version's number is never used again. What is live is a durable fact: `view/<id>` in the registry.
Tables go only after the fact that no longer needs them is stored: what is neither live nor being
built is swept, again and again until it succeeds, and at start.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import msgspec
import structlog

from eventmill.engine.views.compiled import PlacedQuery, Statement
from eventmill.engine.views.definition import CompiledView
from eventmill.engine.views.placement import names_on, tables_on
from eventmill.errors import (
    ConfigurationError,
    Conflict,
    NotFound,
    RequestError,
    Unavailable,
    UnknownHandler,
)
from eventmill.model import limits
from eventmill.model.commit import Commit
from eventmill.model.definition import ViewDefinition
from eventmill.ports.clock import Clock
from eventmill.ports.store import Store
from eventmill.runtime.committer import Committer
from eventmill.runtime.projector import Projector, TableRows
from eventmill.runtime.subscription import Reaction, Subscription
from eventmill.runtime.supervisor import Supervisor

log = structlog.get_logger()

FACT: Final = "view/"
RETRY_SECONDS: Final = 1.0
"""How long a step that the store refused waits for its next try."""
PROGRESS_SECONDS: Final = 0.05
"""How often a rebuild that sees no events of its own looks whether it has caught up."""


class ViewFact(msgspec.Struct):
    """What is durable about a view besides its rows."""

    fingerprint: str
    live: int | None = None
    building: int | None = None
    last: int = 0
    tables: dict[int, list[str]] = {}
    """Physical tables by version."""


@dataclass
class Version:
    """One version that is filled now."""

    number: int
    subscription: Subscription
    queries: dict[str, PlacedQuery]


class Subscribe(Protocol):
    """Starts a subscription: `Runtime.subscribe`."""

    def __call__(
        self, name: str, reaction: Reaction, start: int = 0
    ) -> Awaitable[Subscription]: ...


class Views:
    """All views of this node."""

    def __init__(
        self,
        views: dict[str, tuple[ViewDefinition, CompiledView]],
        store: Store,
        committer: Committer,
        clock: Clock,
        supervisor: Supervisor,
        subscribe: Subscribe,
        unsubscribe: Callable[[str], Awaitable[None]],
    ) -> None:
        self._views = {id: _View(*view) for id, view in views.items()}
        self._store = store
        self._committer = committer
        self._clock = clock
        self._supervisor = supervisor
        self._subscribe = subscribe
        self._unsubscribe = unsubscribe

    async def start(self) -> None:
        """Take up every view where it was; rebuild those whose definition has changed."""
        registry = await self._store.registry()
        for id, view in self._views.items():
            stored = registry.get(FACT + id)
            view.fact = msgspec.json.decode(stored, type=ViewFact) if stored else ViewFact("")
            is_new = view.fact.fingerprint != view.compiled.fingerprint
            if is_new:
                if stored:
                    log.info("view has changed and is rebuilt", view=id)
                view.fact.fingerprint = view.compiled.fingerprint
                view.fact.live = None
                self._number(view)
                await self._store_fact(view)
            if view.fact.live is not None:
                view.live = await self._fill(view, view.fact.live, is_new=False)
            if view.fact.building is not None:
                await self._build(view, view.fact.building, is_new=is_new)
            await self._clean_up(view)

    async def rebuild(self, id: str) -> int:
        """Build a new version from the journal's beginning; the old one serves meanwhile.

        Returns the version's number. Raises `NotFound`, and `Conflict` while one is being built.
        """
        view = self._view(id)
        if view.fact.building is not None:
            to_go = f", {view.building.subscription.lag} entries to go" if view.building else ""
            raise Conflict(
                f"view {id!r} is being rebuilt already: version {view.fact.building}{to_go}"
            )
        # From here on a second request is refused: nothing is awaited before the number is taken.
        number = self._number(view)
        try:
            await self._store_fact(view)
            await self._build(view, number, is_new=True)
        except BaseException:
            if view.building is not None:  # its caller is gone, the version is not
                self._supervisor.start(
                    f"building {_name(view, number)}", self._follow(view, view.building)
                )
            else:
                view.give_up(number)
            raise
        return number

    def status(self) -> list[dict[str, Any]]:
        """Describe every view: versions, how far they are, what is queryable."""
        return [view.status() for view in self._views.values()]

    async def query(self, id: str, name: str, arguments: tuple[Any, ...]) -> Any:
        """Run a query of the live version; return its typed result.

        Raises `NotFound`, `Unavailable` while the first version is being built, and what the
        query's limits raise.
        """
        query, statement, answer = await self._run(id, name, arguments)
        return query.decode(statement, answer)

    async def reply(self, id: str, name: str, arguments: tuple[Any, ...]) -> bytes:
        """The same, its result as JSON."""
        query, statement, answer = await self._run(id, name, arguments)
        return query.reply(statement, answer)

    async def items(self, id: str, name: str, arguments: tuple[Any, ...]) -> list[bytes]:
        """The same, each row as JSON, with the limit of streams."""
        limit = limits.VIEW_ROWS_STREAMED_MAX
        query, statement, answer = await self._run(id, name, arguments, limit)
        return query.items(statement, answer)

    async def watch(
        self, id: str, name: str, arguments: tuple[Any, ...]
    ) -> AsyncIterator[list[bytes]]:
        """Yield the rows of a query as JSON, then again and again those that are new or changed.

        Runs the query again after changes of its view; changes that come faster than the reader
        takes them are seen together.
        """
        view = self._view(id)
        seen: set[bytes] | None = None
        while True:
            changed = view.changes
            rows = await self.items(id, name, arguments)
            fresh = [row for row in rows if seen is None or row not in seen]
            if fresh or seen is None:
                yield fresh
            seen = set(rows)
            while view.changes == changed:
                await view.wait()

    async def _run(
        self,
        id: str,
        name: str,
        arguments: tuple[Any, ...],
        limit: int = limits.VIEW_ROWS_COLLECTED_MAX,
    ) -> tuple[PlacedQuery, Statement, bytes]:
        live = self._live(self._view(id))
        query = live.queries.get(name)
        if query is None:
            known = ", ".join(live.queries) or "none"
            raise UnknownHandler(f"view {id!r} has no query {name!r}; there is {known}")
        statement = query.statement(arguments, limit=limit)
        answer = await self._store.views.query(
            statement.sql, statement.bindings, seconds=limits.VIEW_QUERY_SECONDS
        )
        return query, statement, answer

    def _view(self, id: str) -> _View:
        view = self._views.get(id)
        if view is None:
            raise NotFound(f"no view {id!r}; there is {', '.join(self._views) or 'none'}")
        return view

    def _live(self, view: _View) -> Version:
        if view.live is None:
            to_go = view.building.subscription.lag if view.building else 0
            raise Unavailable(
                f"view {view.compiled.id!r} is being built, {to_go} entries to go; ask again",
                code="view.building",
                details={"view": view.compiled.id, "lag": to_go},
            )
        return view.live

    def _number(self, view: _View) -> int:
        fact = view.fact
        fact.last += 1
        fact.building = fact.last
        fact.tables[fact.last] = list(names_on(view.compiled, fact.last).values())
        return fact.last

    async def _fill(self, view: _View, number: int, *, is_new: bool) -> Version:
        compiled = view.compiled
        await self._store.views.prepare(tables_on(compiled, number))
        names = names_on(compiled, number)
        tables = {
            name: TableRows(table, names[name], self._store.views, compiled.id, is_new=is_new)
            for name, table in compiled.tables.items()
        }
        queries = {
            name: query.on(names, self._store.views.dialect)
            for name, query in compiled.queries.items()
        }
        for query in queries.values():
            await self._probe(query)
        projector = Projector(view.definition, tables, view.note)
        subscription = await self._subscribe(_name(view, number), projector)
        return Version(number, subscription, queries)

    async def _probe(self, query: PlacedQuery) -> None:
        """Let the store read the statements, so that what it refuses fails at start."""
        for probe in query.probes():
            try:
                await self._store.views.query(
                    probe.sql, probe.bindings, seconds=limits.VIEW_QUERY_SECONDS
                )
            except RequestError as error:
                raise ConfigurationError(
                    f"view {query.query.view!r}, query {query.query.name!r}: {error.message}"
                ) from error

    async def _build(self, view: _View, number: int, *, is_new: bool) -> None:
        building = view.building = await self._fill(view, number, is_new=is_new)
        if building.subscription.lag > 0 or not await self._went_live(view, building):
            self._supervisor.start(f"building {_name(view, number)}", self._follow(view, building))

    async def _follow(self, view: _View, building: Version) -> None:
        while building.subscription.lag > 0:
            await self._clock.sleep(PROGRESS_SECONDS)
        while not await self._went_live(view, building):
            await self._clock.sleep(RETRY_SECONDS)

    async def _went_live(self, view: _View, building: Version) -> bool:
        try:
            async with view.lock:
                fact = msgspec.structs.replace(view.fact, live=building.number, building=None)
                await self._write_fact(view, fact)
                if view.live is not None:
                    view.retired.add(view.live.number)
                view.fact, view.live, view.building = fact, building, None
        except (Unavailable, Conflict) as error:
            log.warning("view not yet live", view=view.compiled.id, error=str(error))
            return False
        log.info("view is live", view=view.compiled.id, version=building.number)
        view.note()
        await self._clean_up(view)
        return True

    async def _clean_up(self, view: _View) -> None:
        """Sweep now; if the store refuses, go on in the background."""
        if not await self._swept(view):
            view.sweeps += 1
            name = f"sweeping {view.compiled.id} {view.sweeps}"
            self._supervisor.start(name, self._sweep(view))

    async def _sweep(self, view: _View) -> None:
        while True:
            await self._clock.sleep(RETRY_SECONDS)
            if await self._swept(view):
                return

    async def _swept(self, view: _View) -> bool:
        try:
            async with view.lock:
                await self._drop_unused(view)
        except (Unavailable, Conflict) as error:
            log.warning("old view tables not yet gone", view=view.compiled.id, error=str(error))
            return False
        return True

    async def _drop_unused(self, view: _View) -> None:
        """Remove every version that is neither live nor being built; each step can be repeated."""
        unused = [number for number in view.fact.tables if number not in view.used()]
        if not unused:
            return
        for number in unused:
            if number in view.retired:
                await self._unsubscribe(_name(view, number))
                view.retired.discard(number)
        await self._store.views.drop([name for n in unused for name in view.fact.tables[n]])
        kept = {n: names for n, names in view.fact.tables.items() if n not in unused}
        forgotten = [_name(view, number) for number in unused]
        await self._write_fact(view, msgspec.structs.replace(view.fact, tables=kept), forgotten)
        for number in unused:
            del view.fact.tables[number]

    async def _store_fact(self, view: _View) -> None:
        async with view.lock:
            await self._write_fact(view, view.fact)

    async def _write_fact(self, view: _View, fact: ViewFact, forgotten: Sequence[str] = ()) -> None:
        value = msgspec.json.encode(fact)

        def fill(commit: Commit) -> None:
            commit.registry[FACT + view.compiled.id] = value
            commit.forgotten += forgotten

        await self._committer.write(fill)


class _View:
    """A view and its versions."""

    def __init__(self, definition: ViewDefinition, compiled: CompiledView) -> None:
        self.definition = definition
        self.compiled = compiled
        self.fact = ViewFact("")
        self.live: Version | None = None
        self.building: Version | None = None
        self.lock = asyncio.Lock()
        """Held while the stored fact changes: facts are stored in the order they came true."""
        self.retired: set[int] = set()
        """Versions that are no longer live and whose subscription still runs."""
        self.sweeps = 0
        """Background sweeps begun; it makes their tasks' names unique."""
        self.changes = 0
        self._changed: asyncio.Future[None] | None = None

    def used(self) -> set[int | None]:
        """Versions whose tables must stay."""
        return {self.fact.live, self.fact.building}

    def give_up(self, number: int) -> None:
        """Let another rebuild begin, unless one has begun already."""
        if self.fact.building == number:
            self.fact.building = None

    def note(self) -> None:
        """Rows have changed: wake whoever watches."""
        self.changes += 1
        if self._changed is not None:
            changed, self._changed = self._changed, None
            changed.set_result(None)

    async def wait(self) -> None:
        """Return at the next change."""
        if self._changed is None:
            self._changed = asyncio.get_running_loop().create_future()
        await asyncio.shield(self._changed)

    def status(self) -> dict[str, Any]:
        """Describe it for people and programs."""
        return {
            "view": self.compiled.id,
            "live": _describe(self.live),
            "building": _describe(self.building),
            "queries": sorted(self.compiled.queries),
            "tables": sorted(self.compiled.tables),
        }


def _describe(version: Version | None) -> dict[str, Any] | None:
    if version is None:
        return None
    subscription = version.subscription
    return {
        "version": version.number,
        "position": subscription.position,
        "lag": subscription.lag,
        "blocked_keys": len(subscription.blocked),
        "paused": subscription.paused,
    }


def _name(view: _View, number: int) -> str:
    return f"{view.compiled.id}@{number}"
