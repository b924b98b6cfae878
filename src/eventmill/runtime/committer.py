"""The committer: one writer per node; collects what turns and reactions decided, commits it whole.

Place on the road: after the turn, before reply and dispatch. Turns add to the open batch while the one
before it is on its way to the disk; when that is done, everything pending becomes the next commit
(group commit without a timer: the disk's latency sets the group's size).

Invariants: at most one commit is under way; replies of a batch are released in the order they were
added, after its commit; when a commit fails, everything pending fails with it, because its
turns ran on states that never became true, and `on_failure` tells whoever holds such states. A
lone commit hangs on no such state: it fails alone, and goes on when others fail.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

import structlog

from eventmill.errors import Conflict, Overloaded, Unavailable, described
from eventmill.model import limits
from eventmill.model.commit import Commit, Snapshot
from eventmill.model.entry import size_of_all
from eventmill.ports.store import Store

log = structlog.get_logger()

Reply = tuple["asyncio.Future[Any]", Any]


class Batch:
    """What one commit will write, and who waits for it."""

    __slots__ = ("_durable", "_loop", "commit", "done", "holders", "replies")

    def __init__(self) -> None:
        self.commit = Commit()
        self.replies: list[Reply] = []
        self._durable: asyncio.Future[Any] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self.holders: list[Any] = []
        """Entities whose memory is ahead of the store until this batch is committed."""
        self.done = False

    def later(self, answer: Any = None) -> asyncio.Future[Any]:
        """Return a future that is done with an answer when this is durable, or holds the error; an
        answer that is an exception is raised."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()  # once: it asks the system who we are
        future = self._loop.create_future()
        self.replies.append((future, answer))
        return future

    def durable(self, answer: Any = None) -> asyncio.Future[Any]:
        """Return the one future of all who need no answer of their own: done when it is durable, with
        the first one's answer, or holds the error. Nobody may cancel it."""
        if self._durable is None:
            self._durable = self.later(answer)
            self._durable.add_done_callback(look_at)
        return self._durable

    def let_go(self) -> None:
        """It is over. Entities go on pointing here: what hangs on it must not live as long as they do,
        nor they as long as the collector leaves them, because it points to them."""
        self.commit, self.replies, self.holders = _NOTHING, [], []
        self._durable = None


_NOTHING = Commit()


class Committer:
    """Owns the store's commits."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._queue = deque([Batch()])
        """The last one is open; the others are full and wait for their turn."""
        self._under_way: Batch | None = None
        self._lone: deque[tuple[Commit, asyncio.Future[None]]] = deque()
        """One goes before each batch; the first may be under way."""
        self._wake = asyncio.Event()
        self._closing = False
        self._idle = True
        self.before_commit: list[Callable[[Batch], None]] = []
        """Called with each batch when nothing is added to it any more, before it is written."""
        self.on_commit: list[Callable[[Commit], None]] = []
        """Called with each commit when it is durable, in order."""
        self.on_failure: list[Callable[[Batch], None]] = []
        """Called with each batch that failed."""
        self.commits = 0
        self.entries = 0

    def __repr__(self) -> str:
        return f"<Committer [{self.waiting} waiting, {self.commits} commits]>"

    @property
    def waiting(self) -> int:
        """Callers whose commit has not begun."""
        return sum(len(batch.replies) for batch in self._queue)

    @property
    def idle(self) -> bool:
        """Whether nothing is being committed or waits for it."""
        return self._idle

    def changes_timer(self, name: str) -> bool:
        """Whether a commit that is not done yet sets or removes a timer."""
        batches = [*self._queue, self._under_way] if self._under_way else self._queue
        return any(name in batch.commit.timers for batch in batches)

    def open_batch(self) -> Batch:
        """Return the batch to add to; it will be committed soon.

        Raises `Overloaded` when too many callers wait already.
        """
        if self._closing:
            raise Overloaded("this node is stopping")
        batch = self._queue[-1]
        commit = batch.commit
        if (
            len(batch.replies) >= limits.COMMIT_REPLIES_MAX
            or len(commit.entries) >= limits.COMMIT_ENTRIES_MAX
            or commit.bytes >= limits.COMMIT_BYTES_MAX
        ):
            if len(self._queue) >= limits.COMMITS_WAITING_MAX:
                raise Overloaded("more is in flight than the journal can keep up with")
            batch = Batch()
            self._queue.append(batch)
        if self._idle:
            self._idle = False
            self._wake.set()
        return batch

    async def write(self, fill: Callable[[Commit], None]) -> None:
        """Add to the next commit and wait until it is durable.

        Raises what the store raises; nothing of the batch is true then.
        """
        await self.submit(fill)

    def submit(self, fill: Callable[[Commit], None]) -> asyncio.Future[None]:
        """Add to the next commit; the future is done when it is durable, or holds the error."""
        batch = self.open_batch()
        commit = batch.commit
        entries, letters = len(commit.entries), len(commit.letters)
        fill(commit)
        commit.bytes += size_of_all(commit.entries[entries:])
        commit.bytes += size_of_all(letter.entry for letter in commit.letters[letters:])
        return batch.later()

    def submit_alone(self, commit: Commit) -> asyncio.Future[None]:
        """Let something that may be refused be a commit of its own, so that nobody fails with it.

        The future is done when it is durable, or holds what the store raised. Raises `Overloaded`
        when too many wait already.
        """
        if self._closing:
            raise Overloaded("this node is stopping")
        if len(self._lone) >= limits.LONE_COMMITS_MAX:
            raise Overloaded("more facts are being changed than the store can keep up with")
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._lone.append((commit, future))
        self._idle = False
        self._wake.set()
        return future

    async def run(self) -> None:
        """Commit until `stop`; the last commit is finished first."""
        try:
            while not (self._closing and self._idle):
                await self._wake.wait()
                self._wake.clear()
                while True:
                    if self._lone:
                        await self._commit_alone(*self._lone[0])
                        self._lone.popleft()
                    if self._queue[0].replies or not self._queue[0].commit.is_empty():
                        await self._commit_next()
                    elif not self._lone:
                        break
                self._idle = True
        finally:
            # Whatever ended it, nobody waits for a commit that will not come.
            self._closing = True
            stopping = Overloaded("this node is stopping")
            self._refuse(stopping)
            for _, future in self._lone:
                if not future.done():
                    future.set_exception(_answer_to(stopping))

    async def drained(self) -> None:
        """Return when all that was added before is committed, or has failed."""
        if self._idle or self._closing:
            return
        end = self._queue[-1].later()
        await asyncio.wait({end})
        end.exception()  # looked at: whoever waits for an answer has got it

    def stop(self) -> None:
        """Refuse new work; `run` returns when all that was accepted is committed."""
        self._closing = True
        self._wake.set()

    async def _commit_next(self) -> None:
        batch = self._under_way = self._queue.popleft()
        if not self._queue:
            self._queue.append(Batch())
        for prepare in self.before_commit:
            prepare(batch)
        if batch.commit.snapshots:
            _drop_large(batch.commit.snapshots)
        try:
            await self._store.commit(batch.commit)
        except Exception as error:  # every waiting caller must hear of it, whatever it is
            self._fail(batch, error)
            return
        batch.done = True
        self.commits += 1
        self.entries += len(batch.commit.entries)
        for future, reply in batch.replies:
            # crash here: the commit is durable, the caller has no answer; its idempotency key
            # or the entity's state tells what happened.
            if not future.done():
                if isinstance(reply, Exception):
                    future.set_exception(reply)
                else:
                    future.set_result(reply)
        for notify in self.on_commit:
            notify(batch.commit)
        batch.let_go()
        self._under_way = None

    async def _commit_alone(self, commit: Commit, future: asyncio.Future[None]) -> None:
        try:
            await self._store.commit(commit)
        except Exception as error:  # whatever it is, it concerns nobody else
            if not future.done():
                future.set_exception(error)
            return
        self.commits += 1
        if not future.done():
            future.set_result(None)
        for notify in self.on_commit:
            notify(commit)

    def _fail(self, batch: Batch, error: Exception) -> None:
        log.error("commit failed", error=str(error), waiting=len(batch.replies))
        self._refuse(error)
        self._under_way = None

    def _refuse(self, error: Exception) -> None:
        """Answer everybody who waits, and tell whoever holds states that never became true."""
        refused, self._queue = list(self._queue), deque([Batch()])
        if self._under_way is not None and not self._under_way.done:
            refused.insert(0, self._under_way)
        for batch in refused:
            batch.done = True
            for notify in self.on_failure:
                notify(batch)
            for future, _ in batch.replies:
                if not future.done():
                    future.set_exception(_answer_to(error))
            batch.let_go()


def look_at(future: asyncio.Future[Any]) -> None:
    """Its error may be of no interest to anybody: the loop need not complain of that."""
    if not future.cancelled():
        future.exception()


def _drop_large(snapshots: list[Snapshot]) -> None:
    """Leave out what would hold up everybody: a snapshot only saves reading events again."""
    most = limits.SNAPSHOT_BYTES_MAX
    for s in snapshots:
        if len(s.state) > most:
            advice = "keep less in its state, it is made of its events at each load"
            size = len(s.state)
            log.warning(
                f"no snapshot: {advice}", entity=f"{s.source}/{s.subject}", bytes=size, most=most
            )
    snapshots[:] = [s for s in snapshots if len(s.state) <= most]


def _answer_to(error: Exception) -> Unavailable:
    """Make one exception per waiting caller: a shared one would collect all their tracebacks.

    One writer's conflict fails everybody in its batch; none of them asked for anything wrong.
    """
    if isinstance(error, Conflict):
        answer = Unavailable(f"{error.message}; try again", code="unavailable.conflict")
    elif isinstance(error, Unavailable):
        answer = type(error)(error.message)
    else:
        answer = Unavailable(f"the commit failed: {described(error)}")
    answer.__cause__ = error
    return answer
