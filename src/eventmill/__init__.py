"""Eventmill: the open, Python-native platform for pure event-driven systems."""

from typing import TYPE_CHECKING, Any

from eventmill.errors import (
    ConfigurationError,
    Conflict,
    Deleted,
    EventmillError,
    InvalidPayload,
    NotFound,
    Overloaded,
    Rejected,
    Unavailable,
)
from eventmill.model.definition import Retry
from eventmill.model.effect import Effect
from eventmill.model.events import EntityDeleted, Event, downcast, event_type, upcast
from eventmill.model.page import Page
from eventmill.model.progress import WorkflowMoved
from eventmill.model.replicated import (
    CounterMap,
    Flag,
    GCounter,
    GSet,
    LWWRegister,
    MultiMap,
    MVRegister,
    ORMap,
    ORSet,
    PNCounter,
    RegisterMap,
    Vote,
)
from eventmill.model.topic import WHEN_READ, Topic
from eventmill.model.workflow_effect import branch
from eventmill.sdk.action import scheduled, timed
from eventmill.sdk.component import component
from eventmill.sdk.consumer import consumer
from eventmill.sdk.context import Context
from eventmill.sdk.effects import cancel, ignore, publish, schedule, send
from eventmill.sdk.endpoints.declaring import RequestContext, ServerSentEvent, endpoint
from eventmill.sdk.entity import EventSourcedEntity, KeyValueEntity
from eventmill.sdk.handlers import command, on, query
from eventmill.sdk.replicated import ReplicatedEntity
from eventmill.sdk.service import Service
from eventmill.sdk.streams import ServiceStream, stream
from eventmill.sdk.view import Record, View
from eventmill.sdk.workflow import StepContext, Workflow, WorkflowEnded, step

if TYPE_CHECKING:
    from eventmill.client import Client

__all__ = [
    "WHEN_READ",
    "Client",
    "ConfigurationError",
    "Conflict",
    "Context",
    "CounterMap",
    "Deleted",
    "Effect",
    "EntityDeleted",
    "Event",
    "EventSourcedEntity",
    "EventmillError",
    "Flag",
    "GCounter",
    "GSet",
    "InvalidPayload",
    "KeyValueEntity",
    "LWWRegister",
    "MVRegister",
    "MultiMap",
    "NotFound",
    "ORMap",
    "ORSet",
    "Overloaded",
    "PNCounter",
    "Page",
    "Record",
    "RegisterMap",
    "Rejected",
    "ReplicatedEntity",
    "RequestContext",
    "Retry",
    "ServerSentEvent",
    "Service",
    "ServiceStream",
    "StepContext",
    "Topic",
    "Unavailable",
    "View",
    "Vote",
    "Workflow",
    "WorkflowEnded",
    "WorkflowMoved",
    "branch",
    "cancel",
    "command",
    "component",
    "consumer",
    "downcast",
    "endpoint",
    "event_type",
    "ignore",
    "on",
    "publish",
    "query",
    "schedule",
    "scheduled",
    "send",
    "step",
    "stream",
    "timed",
    "upcast",
]


def __getattr__(name: str) -> Any:
    # The HTTP library takes a tenth of a second to import; only who uses the client waits for it.
    if name == "Client":
        from eventmill.client import Client

        return Client
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
