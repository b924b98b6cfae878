"""Unit kit of an action: call it as a timer would, look at the effects it returns. No store, no node.

    effects = await ActionKit(remind).run("o1")
    assert effects.published == [(reminders, Reminder(order_id="o1"))]

Arguments go through the action's own dispatch: encoded, decoded, guards on.
"""

from __future__ import annotations

from typing import Generic, ParamSpec

from eventmill.adapters.memory.store import Store
from eventmill.model.action import CALLS, Action
from eventmill.model.definition import ActionDefinition
from eventmill.model.entry import Entry
from eventmill.runtime.dispatch.action import ActionReaction
from eventmill.runtime.room import Room
from eventmill.sdk.action import define_action
from eventmill.testing.calls import Calls
from eventmill.testing.fitting import check_fit
from eventmill.testing.reacting import Effects, ReactionKit, Recording

P = ParamSpec("P")


class ActionKit(ReactionKit, Generic[P]):
    """Runs one action.

    Attributes a test may set: `subject`, the name of the timer, or of a schedule the time of the
    tick; `attempt`. Raises `ConfigurationError` for an action that no service would take.
    """

    def __init__(self, action: Action[P]) -> None:
        check_fit("ActionKit", action)
        super().__init__()
        self.definition: ActionDefinition = define_action(action)
        self.subject = "test"
        self.attempt = 1
        self._id = action.id

    def __repr__(self) -> str:
        return f"<ActionKit {self._id}>"

    async def run(self, *args: P.args, **kwargs: P.kwargs) -> Effects:
        """Call the action; its context is made here. Return the effects.

        Raises `InvalidPayload` for arguments that do not fit, what the action raises, and
        `HandlerFailed` for what a guard finds.
        """
        handler = self.definition.handler
        payload = handler.encode_arguments(handler.arguments(args, kwargs))
        now = self.clock.now()
        entry = Entry(CALLS + self._id, self.subject, 0, handler.name, 1, now, payload, position=1)

        def make(calls: Calls) -> Recording:
            return _RecordingAction(
                self.definition, calls, Store(), self.clock, Room(), guarded=True
            )

        return await self._effects(make, [entry], self.attempt)


class _RecordingAction(Recording, ActionReaction):
    """Keeps the effects of an action."""
