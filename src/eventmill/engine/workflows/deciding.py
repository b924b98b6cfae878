"""Deciding: a workflow's effect → entries, rows and reply. Pure.

Place on the road: the turn, in the place of `engine.entity.decide`. What others and the platform ask
becomes an effect first (`effect_of`); a step's outcome is the effect that it returned.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import msgspec

from eventmill.engine import outgoing
from eventmill.engine.causation import inherited
from eventmill.engine.entity import NULL, Live, built_in, changed_state, extra_of, mark_deleted
from eventmill.engine.outgoing import Author
from eventmill.engine.workflows import rows
from eventmill.engine.workflows.moving import Move
from eventmill.engine.workflows.rows import Owner
from eventmill.errors import HandlerFailed, InvalidPayload, Stuck
from eventmill.model import codec, limits
from eventmill.model.commit import Commit, Snapshot
from eventmill.model.effect import Effect, Sending
from eventmill.model.entry import COMMANDS, STATE, STEP, Entry
from eventmill.model.handler import Handler
from eventmill.model.orders import ARRIVED, ORPHANED, OUTCOME
from eventmill.model.progress import EMPTY, FINAL, Child, Did, Moved, Progress, Status, Whole
from eventmill.model.transition import Arrived, End, Go, Order, Ran, TimedOut

CAUSE_BYTES_MAX: Final = 4 << 10
"""What a workflow remembers of its first command's metadata; more is left out."""


class Outcome(NamedTuple):
    """What an attempt of a step led to: the only argument of `$outcome`."""

    ran: Ran
    effect: Effect[Any]


def effect_of(live: Live, name: str, arguments: tuple[Any, ...]) -> Effect[Any] | None:
    """Return what a built-in command causes; None if what it is about has passed."""
    progress = live.progress
    assert progress is not None
    match name, arguments:
        case (_, (Outcome(ran, effect),)) if name == OUTCOME:
            run = progress.run(ran.number)
            if run is None or run.attempt != ran.attempt or live.deleted:
                return None
            if effect.deleted and ran.next is None:
                ran = msgspec.structs.replace(ran, next=End())
            return msgspec.structs.replace(effect, transition=ran)
        case (_, (TimedOut() as timed_out,)):
            is_current = (
                progress.has_deadline
                if timed_out.kind == rows.DEADLINE
                else progress.wait is not None and progress.wait.number == timed_out.number
            )
            return Effect(transition=timed_out) if is_current else None
        case (_, (number, event, *place)) if name == ARRIVED:
            arrived = Arrived(number, event, *place)
            return Effect(transition=arrived) if _is_wanted(live, arrived) else None
        case (_, ()) if name == ORPHANED:
            is_going = progress.status not in (*FINAL, Status.NEW, Status.COMPENSATING)
            return Effect(transition=Order.TERMINATE) if is_going and not live.deleted else None
    return Effect(transition=Order(name.removeprefix("$")))


def _is_wanted(live: Live, arrived: Arrived) -> bool:
    """Whether a workflow waits for an event, and has not taken it before: who reads late may bring it
    again, for the next wait."""
    progress = live.progress
    assert progress is not None
    wait = progress.wait
    if wait is None or wait.number != arrived.number or live.deleted:
        return False
    last = progress.last_taken(wait.source, wait.key, live.placement.store)
    return last is None or not 0 < arrived.position <= last.position


def stuck(live: Live) -> str:
    """Return why this code cannot go on with a workflow; empty if it knows all its steps."""
    definition, progress = live.definition.workflow, live.progress
    assert definition is not None
    assert progress is not None
    if not (unknown := progress.unknown_to(definition)):
        return ""
    return (
        f"workflow {live.definition.id}/{live.id} is at step {unknown!r}, or may come to it, which this "
        f"code does not have (it has {', '.join(definition.steps)}): deploy code that has it, or "
        "terminate the workflow"
    )


def decide(
    live: Live,
    handler: Handler[Any, Any],
    effect: Effect[Any],
    now: int,
    metadata: bytes | None,
    origin: str | None,
    commit: Commit,
) -> bytes:
    """Add what an effect causes to `commit`, take it as the state and progress, return the encoded
    reply.

    Raises `NotNow` for what the workflow cannot do where it is, `Stuck` where this code lacks a step of
    it, `HandlerFailed` or `TooLarge` for an effect that cannot be; nothing is added then, and after
    `NotNow` nothing has changed.
    """
    transition = effect.transition
    progress = live.progress
    assert progress is not None
    if transition is not Order.TERMINATE and (why := stuck(live)):
        raise Stuck(why)
    if isinstance(transition, Go) and transition.if_new and progress.status is not Status.NEW:
        return _reply(effect, live.state)
    place = _place_of(live, handler, transition)
    try:
        move = _moved(live, effect, now, place)
        state, changes = None, b""
        if effect.changes:
            changes = changed_state(live, handler, effect.changes)
            state = live.definition.decode_state(changes)
        later = None
        if effect.outgoing:
            author = Author(place, live.definition.topics, live.placement, live.shard)
            later = outgoing.expand(effect.outgoing, now, metadata, author)
    except InvalidPayload as error:  # the handler's fault, not its caller's
        raise HandlerFailed(f"{place}: {error.message}", code="guard.event") from error
    did = _did(live, handler, effect, now, move)
    extra = extra_of(handler, effect, metadata) if metadata or effect.metadata else None
    if live.marks:
        origin = live.origin_of(origin)
    if state is not None:
        live.renew(state)
    entries = _entries_of(live, now, extra, origin, changes, move, did)
    reply = _reply(effect, live.state)
    _settle(live, effect, now, extra, origin, commit, entries, move)
    if move is not None:
        commit.entries += [_orphaned(child, now, metadata, live.shard) for child in move.orphans]
    if later is not None:
        later.add_to(commit)
        commit.bytes += later.bytes
    return reply


def _moved(live: Live, effect: Effect[Any], now: int, place: str) -> Move | None:
    transition, children = effect.transition, _children_of(effect)
    if transition is None and not effect.deleted and not children:
        return None
    definition, progress = live.definition.workflow, live.progress
    assert definition is not None
    assert progress is not None
    owner = Owner(live.definition.id, live.id, live.shard, live.placement.store)
    move = Move(definition, owner, progress, live.fresh, now, place)
    if children:
        move.adopt(children)
    match transition:
        case None if not effect.deleted:
            move.stay()
        case None:
            pass
        case Ran():
            move.ran(transition)
        case TimedOut():
            move.timed_out(transition)
        case Arrived():
            move.arrived(transition)
        case Order():
            move.ordered(transition)
        case _:
            move.command(transition)
    if effect.deleted:
        move.delete()
    if children and move.orphans:
        raise HandlerFailed(
            f"{place} starts a child and ends, and the child would end with it: wait for its end, or "
            "start it with send if it outlives its parent",
            code="guard.child",
        )
    return move


def _children_of(effect: Effect[Any]) -> list[Child]:
    sent = (one for one in effect.outgoing if isinstance(one, Sending) and one.starts_child)
    return [Child(one.handler.component, one.id) for one in sent]


def _entries_of(
    live: Live,
    now: int,
    extra: bytes | None,
    origin: str | None,
    changes: bytes,
    move: Move | None,
    did: Did | None,
) -> list[Entry]:
    """Return the entries; the workflow is now where they say."""
    entries: list[Entry] = []
    sequence = live.identity.sequence
    if changes:
        sequence += 1
        entries.append(built_in(live, sequence, STATE, now, changes, extra, origin))
    if move is not None:
        progress = move.progress
        if progress.began == now and progress.cause == EMPTY:
            progress.cause = _cause(live.identity.metadata)
        assert did is not None
        sequence += 1
        if move.sets_off:
            progress.since, progress.by_event = sequence, move.by_event
        payload = codec.encode(Moved(did, progress))
        entries.append(built_in(live, sequence, STEP, now, payload, extra, origin))
        live.progress, live.fresh = progress, move.fresh
        live.identity.status = progress.status
    live.identity.sequence = sequence
    return entries


def _settle(
    live: Live,
    effect: Effect[Any],
    now: int,
    extra: bytes | None,
    origin: str | None,
    commit: Commit,
    entries: list[Entry],
    move: Move | None,
) -> None:
    if not entries:
        return
    if move is not None:
        commit.timers.update(move.timers)
    live.since += len(entries)
    size = sum(len(entry.payload) for entry in entries)
    live.bytes += size
    commit.bytes += size + len(entries) * len(extra or b"")
    if origin is not None:
        live.mark(origin)
    commit.entries += entries
    if effect.deleted:
        mark_deleted(live, now, extra, origin, commit)
    elif live.since >= limits.SNAPSHOT_EVERY:
        commit.snapshots.append(_snapshot(live, now))
        commit.bytes += live.bytes
    if not effect.deleted and live.progress is not None and live.progress.status in FINAL:
        _expire(live, effect, now, commit)


def _expire(live: Live, effect: Effect[Any], now: int, commit: Commit) -> None:
    """An ended workflow is kept for as long as its class says."""
    after = effect.expire_after or live.definition.expire_after
    if after is not None:
        definition, sequence = live.definition, live.identity.sequence
        due = outgoing.due_after(f"the expiry of {definition.id}", after, now)
        timer = outgoing.expire_timer(definition.id, live.id, sequence, due, now, live.shard)
        commit.timers[timer.name] = timer


def _snapshot(live: Live, now: int) -> Snapshot:
    assert live.progress is not None
    state = live.definition.encode_state(live.state)
    whole = codec.encode(Whole(msgspec.Raw(state), live.progress))
    live.since, live.bytes = 0, len(whole)
    sequence, schema = live.identity.sequence, live.definition.schema
    source, marks = live.definition.id, dict(live.marks)
    return Snapshot(source, live.id, sequence, now, schema, whole, marks)


def _did(
    live: Live, handler: Handler[Any, Any], effect: Effect[Any], now: int, move: Move | None
) -> Did | None:
    """Return the line of history."""
    if move is None:
        return None
    result = EMPTY
    if effect.changes:
        result = msgspec.Raw(codec.encode(effect.changes))
    next = _next_of(move.progress)
    match effect.transition:
        case Ran(number, attempt, began, ended, _, failed):
            progress = live.progress
            run = progress.run(number) if progress is not None else None
            assert run is not None
            what = "compensation" if run.undoes else "step"
            code, error = (failed.code, failed.error) if failed is not None else ("", "")
            return Did(
                what, run.step, number, run.input, attempt, began, ended, result, code, error, next
            )
        case TimedOut(kind, number):
            return Did("timeout", kind, number, began=now, ended=now, next=next)
        case Arrived(number, event):
            source = live.progress.wait.source if live.progress and live.progress.wait else ""
            return Did("event", source, number, event, began=now, ended=now, next=next)
        case Order() as order:
            return Did(order, began=now, ended=now, next=next)
    return Did("command", handler.name, began=now, ended=now, result=result, next=next)


def _next_of(progress: Progress) -> str:
    """Return what is next, for people."""
    if progress.runs:
        return ", ".join(run.step for run in progress.runs)
    return progress.status.value


def _orphaned(child: Child, now: int, metadata: bytes | None, home: int) -> Entry:
    subject = f"{child.component}/{child.id}"
    return Entry(COMMANDS, subject, 0, ORPHANED, 1, now, b"{}", metadata, None, home)


def _place_of(live: Live, handler: Handler[Any, Any], transition: Any) -> str:
    if isinstance(transition, Ran) and live.progress is not None:
        run = live.progress.run(transition.number)
        assert live.definition.workflow is not None
        if run is not None and run.step in live.definition.workflow.steps:
            return live.definition.workflow.steps[run.step].handler.place
    return handler.place


def _reply(effect: Effect[Any], state: Any) -> bytes:
    if effect.function is not None:
        return codec.encode(effect.function(state))
    return NULL if effect.value is None else codec.encode(effect.value)


def _cause(metadata: bytes | None) -> msgspec.Raw:
    cause = inherited(metadata)
    return msgspec.Raw(cause) if cause and len(cause) <= CAUSE_BYTES_MAX else EMPTY
