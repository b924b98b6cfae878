"""Calling a command handler, with or without the guards of development and tests."""

from __future__ import annotations

from typing import Any

from eventmill.engine.entity import Live
from eventmill.errors import HandlerFailed
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
            effect = handler.invoke(live.state, arguments)
        if not isinstance(effect, Effect):
            raise HandlerFailed(
                f"{handler.place} returned {type(effect).__name__}; a command returns an effect: "
                "self.persist(…), self.update(…), self.reply(…)",
                code="guard.no_effect",
            )
        return effect


def _guarded(live: Live, handler: Handler[Any, Any], arguments: tuple[Any, ...]) -> Any:
    encode = live.definition.encode_state
    before = encode(live.state)
    try:
        with guards.watch(handler.place) as returned:
            returned.effect = handler.invoke(live.state, arguments)
    finally:
        changed = encode(live.state) != before
        if changed:
            state = live.definition.decode_state(before)
            state.bind(live.identity)
            live.state = state
    if changed:
        raise HandlerFailed(
            f"{handler.place} changed the state; a command only decides: persist an event and "
            "change the state in its @on handler (in a key-value entity: self.update(…))",
            code="guard.state_changed",
        )
    return returned.effect
