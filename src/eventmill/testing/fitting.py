"""Which kit tests what: who takes the wrong one is told the right one."""

from __future__ import annotations

from typing import Any, Final

from eventmill.errors import ConfigurationError
from eventmill.model.action import Action
from eventmill.sdk.consumer import Consumer
from eventmill.sdk.entity import EventSourcedEntity, KeyValueEntity
from eventmill.sdk.replicated import ReplicatedEntity
from eventmill.sdk.transform import Transform
from eventmill.sdk.view import View
from eventmill.sdk.workflow import Workflow

_KITS: Final[dict[type, tuple[str, str]]] = {
    ReplicatedEntity: ("a replicated entity", "ReplicasKit"),
    Workflow: ("a workflow", "WorkflowKit"),  # before the entity that it is, too
    EventSourcedEntity: ("an event-sourced entity", "EntityKit"),
    KeyValueEntity: ("a key-value entity", "EntityKit"),
    View: ("a view", "ViewKit"),
    Consumer: ("a consumer", "ConsumerKit"),
    Action: ("an action", "ActionKit"),
    Transform: ("a transform", "TransformKit"),
}


def check_fit(kit: str, thing: Any) -> None:
    """Raise `ConfigurationError` if a kit does not test this component."""
    name = getattr(thing, "__qualname__", None) or getattr(thing, "id", None) or repr(thing)
    for kind, (word, wanted) in _KITS.items():
        if isinstance(thing, kind) or (isinstance(thing, type) and issubclass(thing, kind)):
            if wanted != kit:
                raise ConfigurationError(f"{name} is {word}: use {wanted}")
            return
    raise ConfigurationError(f"{name} is nothing that {kit} tests: is its decorator missing?")
