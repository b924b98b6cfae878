"""Actions: stateless functions that timers and schedules call.

An action is called with a context where a method has its object, and with typed arguments. It returns
effects, as a consumer does.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Concatenate, Final, Generic, ParamSpec

from eventmill.model.handler import Handler

P = ParamSpec("P")

CALLS: Final = "$action/"
"""Begins the source of an action's calls; its id follows. No topic's name begins so."""


class ActionHandler(Handler[P, None]):
    """The function of an action."""

    def _result_of(self, annotation: Any) -> Any:
        return Any  # nobody waits for an answer


class Action(Generic[P]):
    """An action as declared; list it in the service's components. Call it as the function."""

    def __init__(
        self, function: Callable[Concatenate[Any, P], Any], id: str, **options: Any
    ) -> None:
        self.id = id
        self.options = options
        self.handler: Handler[P, None] = ActionHandler(function)
        self.handler.component = id
        self.__wrapped__ = function
        self.__doc__ = function.__doc__

    def __repr__(self) -> str:
        return f"<Action {self.id}>"

    def __call__(self, ctx: Any, /, *args: P.args, **kwargs: P.kwargs) -> Awaitable[Any] | Any:
        return self.handler.function(ctx, *args, **kwargs)
