"""Planning: a step by its name, and what it is given, as JSON. Pure."""

from __future__ import annotations

from typing import Any

import msgspec

from eventmill.errors import HandlerFailed, TooLarge
from eventmill.model import codec, limits
from eventmill.model.definition import StepDefinition, WorkflowDefinition
from eventmill.model.handler import Handler
from eventmill.model.progress import EMPTY, Planned
from eventmill.model.transition import Go


class Plans:
    """The steps of a workflow. Parameter: `place` is whose effect names them."""

    def __init__(self, definition: WorkflowDefinition, place: str) -> None:
        self._definition = definition
        self._place = place

    def of(self, go: Go) -> Planned:
        """Plan a step with its arguments.

        Raises `InvalidPayload` for arguments that it could not read, `TooLarge` for too many.
        """
        step = self.step(go.step.name)
        if not go.arguments:
            return Planned(go.step.name)
        payload = step.handler.encode_arguments(go.arguments)
        step.handler.decode_arguments(payload)  # it must be readable when it is run
        if len(payload) > limits.PAYLOAD_BYTES_MAX:
            raise TooLarge(f"{self._place} gives step {go.step.name!r} {len(payload)} bytes")
        return Planned(go.step.name, msgspec.Raw(payload))

    def name(self, step: Handler[Any, Any] | None) -> str:
        """Return the name of a step that is stored for later; "" for none. Raises as `step`."""
        return self.step(step.name).handler.name if step is not None else ""

    def step(self, name: str) -> StepDefinition:
        """Find a step.

        Raises `HandlerFailed`.
        """
        step = self._definition.steps.get(name)
        if step is None:
            raise HandlerFailed(
                f"{self._place}: {name!r} is no @step of this workflow; there is "
                f"{', '.join(self._definition.steps)}",
                code="guard.step",
            )
        return step

    def part(self, name: str, input: msgspec.Raw) -> msgspec.Raw:
        """Return those of a step's arguments that another one takes."""
        step = self.step(name)
        given: dict[str, Any] = msgspec.json.decode(input, type=dict[str, msgspec.Raw])
        part = {p: given[p] for p in step.handler.parameters if p in given}
        return msgspec.Raw(codec.encode(part)) if part else EMPTY
