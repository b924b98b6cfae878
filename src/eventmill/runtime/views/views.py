"""Views: their queries, once and again with every change.

Place on the road: beside it. HTTP, the client in process and admin ask here; `view` knows which
version answers.

Invariant: an answer is read from one version. Across a swap, a query whose tables are gone is asked
again of the version that answers then.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from hashlib import blake2b
from typing import Any, Generic, NamedTuple, TypeVar

import structlog

from eventmill.engine.views.compiled import PlacedQuery, Statement
from eventmill.engine.views.definition import compile_view
from eventmill.errors import NotFound, Overloaded, RequestError, Unavailable, UnknownHandler
from eventmill.model import limits
from eventmill.model.definition import ViewDefinition
from eventmill.runtime.facts import Changes
from eventmill.runtime.views.opening import Surroundings
from eventmill.runtime.views.state import (
    Building,
    Frozen,
    Live,
    Replacing,
    Running,
    Starting,
    Stopped,
    answering,
    described,
)
from eventmill.runtime.views.sweeping import Sweeper
from eventmill.runtime.views.view import FACT, View

log = structlog.get_logger()

T = TypeVar("T")

WATCH_AGAIN_SECONDS = 0.1
"""Pause before a watcher asks again that found no room."""

LOOK_SECONDS = 0.2
"""How often a node looks whether other nodes have changed rows that are watched here."""


class Answer(NamedTuple, Generic[T]):
    """What a query found."""

    content: T
    version: Running | Stopped
    """Where it was found: a stopped version does not follow the journal any more."""


class Views:
    """All views of this node."""

    def __init__(self, views: Mapping[str, ViewDefinition], node: Surroundings) -> None:
        self._views = {id: View(view, compile_view(view), node) for id, view in views.items()}
        self._sweepers = {id: Sweeper(view, node) for id, view in self._views.items()}
        self._facts = node.facts
        self._supervisor = node.supervisor
        self._store = node.store
        self._clock = node.clock
        self._shared = node.shared

    async def start(self) -> None:
        """Take up every view where it was; build those anew whose definition has changed."""
        await self._facts.follow(FACT, self._act)
        for id, sweeper in self._sweepers.items():
            await sweeper.swept()
            self._supervisor.start(f"sweeping {id}", sweeper.run())
        if self._shared and self._views:
            self._supervisor.start("rows of other nodes", self._look())

    async def _look(self) -> None:
        """Tell who watches what other nodes have changed, until cancelled."""
        while True:
            await self._clock.sleep(LOOK_SECONDS)
            watched = [view for view in self._views.values() if view.watchers]
            if not watched:
                continue
            try:
                offsets = await self._store.offsets()
            except Unavailable as error:
                log.warning("rows of other nodes not looked for", error=str(error))
                continue
            for view in watched:
                view.look(offsets)

    async def _act(self, changes: Changes) -> None:
        for id, view in self._views.items():
            if FACT + id in changes or isinstance(view.state, Starting):
                await view.act()
                self._sweepers[id].want()

    def in_use(self) -> set[str]:
        """Names of the versions that this node has, whether it fills them or not."""
        views = self._views.values()
        return {view.opener.name(number) for view in views for number in view.used}

    async def rebuild(self, id: str) -> int:
        """Build a new version from the journal's beginning; the old one answers meanwhile.

        Returns the version's number. Raises `NotFound`, and `Conflict` while one is being built.
        """
        return await self._view(id).rebuild()

    def status(self) -> list[dict[str, Any]]:
        """Describe every view: its versions, how far they are, what can be asked."""
        return [
            {
                "view": view.compiled.id,
                **described(view.state),
                "queries": sorted(view.compiled.queries),
                "tables": sorted(view.compiled.tables),
            }
            for view in self._views.values()
        ]

    async def query(self, id: str, name: str, arguments: tuple[Any, ...]) -> Any:
        """Run a query; return its typed result.

        Raises `NotFound`, `Unavailable` while no version answers, and what the query's limits
        raise.
        """
        return (await self._ask(id, name, arguments, PlacedQuery.decode)).content

    async def reply(self, id: str, name: str, arguments: tuple[Any, ...]) -> Answer[bytes]:
        """The same, its result as JSON."""
        return await self._ask(id, name, arguments, PlacedQuery.reply)

    async def items(self, id: str, name: str, arguments: tuple[Any, ...]) -> Answer[list[bytes]]:
        """The same, each row as JSON, with the limit of streams."""
        limit = limits.VIEW_ROWS_STREAMED_MAX
        return await self._ask(id, name, arguments, PlacedQuery.items, limit)

    async def watch(
        self, id: str, name: str, arguments: tuple[Any, ...]
    ) -> AsyncIterator[list[bytes]]:
        """Yield the rows of a query as JSON, then again and again those that are new or changed.

        Runs the query again after changes of its view; changes that come faster than the reader
        takes them are seen together. Another version that takes over is such a change. The caller
        may clear a list that it was given.
        """
        view = self._view(id)
        seen: set[bytes] | None = None
        """Digests: the rows themselves may be large, and there may be many who watch."""
        while True:
            changed = view.changes
            try:
                rows = (await self.items(id, name, arguments)).content
            except Overloaded:
                # All who watch wake together: there is no room for all of them at once.
                if seen is None:
                    raise
                await self._clock.sleep(WATCH_AGAIN_SECONDS)
                continue
            digests = [blake2b(row, digest_size=16).digest() for row in rows]
            if seen is not None:
                rows = [row for row, at in zip(rows, digests, strict=True) if at not in seen]
            is_news, seen = bool(rows) or seen is None, set(digests)
            if is_news:
                yield rows
            del rows, digests
            while view.changes == changed:
                await view.wait()

    async def _ask(
        self,
        id: str,
        name: str,
        arguments: tuple[Any, ...],
        read: Callable[[PlacedQuery, Statement, bytes], T],
        limit: int = limits.VIEW_ROWS_COLLECTED_MAX,
    ) -> Answer[T]:
        view = self._view(id)
        while True:
            version = _answering(view)
            query = version.queries.get(name)
            if query is None:
                known = ", ".join(version.queries) or "none"
                raise UnknownHandler(f"view {id!r} has no query {name!r}; there is {known}")
            statement = query.statement(arguments, limit=limit)
            try:
                answer = await self._store.views.query(
                    statement.sql, statement.bindings, seconds=limits.VIEW_QUERY_SECONDS
                )
            except RequestError:
                if answering(view.state) is version:
                    raise
                continue
            return Answer(read(query, statement, answer), version)

    def _view(self, id: str) -> View:
        view = self._views.get(id)
        if view is None:
            raise NotFound(f"no view {id!r}; there is {', '.join(self._views) or 'none'}")
        return view


def _answering(view: View) -> Running | Stopped:
    id = view.compiled.id
    match view.state:
        case Live(version) | Replacing(version, _) | Frozen(version, _):
            return version
        case Starting():
            raise Unavailable(f"view {id!r} is being started; ask again", code="view.starting")
        case Building(next, reason):
            raise _not_yet(id, next, reason)


def _not_yet(id: str, next: Running, reason: str) -> Unavailable:
    because = f" ({reason})" if reason else ""
    return Unavailable(
        f"view {id!r} is being built as version {next.number}: {next.progress}{because}; ask again",
        code="view.building",
        details={"view": id, "version": next.number, "position": next.position, "lag": next.lag},
    )
