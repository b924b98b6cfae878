"""Calling handlers of an entity, with or without the guards of development and tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from eventmill.engine.entity import Live
from eventmill.errors import EventmillError, HandlerFailed, TooLarge
from eventmill.model import codec
from eventmill.model.definition import EntityDefinition
from eventmill.model.effect import Effect
from eventmill.model.handler import Handler
from eventmill.sdk import guards


class Guards:
    """Runs a handler on a state and checks what it returned."""

    def __init__(self, *, enabled: bool) -> None:
        self.enabled = enabled

    def run(
        self, live: Live, handler: Handler[Any, Any], arguments: tuple[Any, ...]
    ) -> Effect[Any]:
        """Call the handler.

        Raises whatever the handler raises, and `HandlerFailed` when it returned no effect or, with
        guards, when it changed the state itself or lost an effect.
        """
        if self.enabled:
            effect = _guarded(live, handler, arguments)
        else:
            effect = handler.invoke(live.state, *arguments)
        if not isinstance(effect, Effect):
            raise HandlerFailed(
                f"{handler.place} returned {type(effect).__name__}; a command returns an effect: "
                "self.persist(…), self.update(…), self.reply(…)",
                code="guard.no_effect",
            )
        return effect

    def ask(self, live: Live, handler: Handler[Any, Any], arguments: tuple[Any, ...]) -> bytes:
        """Call a query; return its encoded answer, which may be a part of the state.

        Raises whatever it raises and, with guards, `HandlerFailed` when it changed the state.
        """
        if self.enabled:
            with _unchanged(live, handler):
                return codec.encode(handler.invoke(live.state, *arguments))
        return codec.encode(handler.invoke(live.state, *arguments))

    def disclosed(self, handler: Handler[Any, Any], error: EventmillError) -> EventmillError:
        """Return an error as the handler's callers hear of it: where the handler is written is told
        in development only."""
        if not self.enabled and isinstance(error, HandlerFailed | TooLarge):
            name = handler.function.__qualname__
            error.message = error.message.replace(handler.place, name)
            error.args = (error.message,)
        return error

    def watched(self, definition: EntityDefinition) -> EntityDefinition:
        """Return the definition, with guards one whose folds set declared fields only."""
        if not self.enabled:
            return definition
        folds = {event: _declared_only(fold) for event, fold in definition.folds.items()}
        return replace(definition, folds=folds)


def _guarded(live: Live, handler: Handler[Any, Any], arguments: tuple[Any, ...]) -> Any:
    with _unchanged(live, handler), guards.watch(handler.place) as returned:
        returned.effect = handler.invoke(live.state, *arguments)
    return returned.effect


@contextmanager
def _unchanged(live: Live, handler: Handler[Any, Any]) -> Iterator[None]:
    """Put the state back, and say so, if the handler changes it."""
    encode = live.definition.encode_state
    before, names = encode(live.state), set(vars(live.state))
    changed = False
    try:
        yield
    finally:
        changed = encode(live.state) != before or set(vars(live.state)) != names
        if changed:
            state = live.definition.decode_state(before)
            state.bind(live.identity)
            live.state = state
    if changed:
        what = "command only decides" if handler.writes else "query only reads"
        raise HandlerFailed(
            f"{handler.place} changed the state; a {what}: persist an event in a command and "
            "change the state in its @on handler (in a key-value entity: self.update(…))",
            code="guard.state_changed",
        )


def _declared_only(fold: Callable[[Any, Any], None]) -> Callable[[Any, Any], None]:
    def watched(state: Any, event: Any) -> None:
        names = set(vars(state))
        fold(state, event)
        if strange := sorted(set(vars(state)) - names):
            cls, code = type(state).__qualname__, fold.__code__
            raise HandlerFailed(
                f"{fold.__qualname__} ({code.co_filename}:{code.co_firstlineno}) sets "
                f"{', '.join(strange)}, which {cls} does not declare, so no snapshot would keep it: "
                f"declare it as a typed field with a default",
                code="guard.undeclared",
            )

    return watched
