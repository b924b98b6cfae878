"""Eventmill: the open, Python-native platform for pure event-driven systems."""

from eventmill.errors import (
    Conflict,
    ConfigurationError,
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
from eventmill.model.events import EntityDeleted, Event, event_type, upcast
from eventmill.model.topic import Topic
from eventmill.sdk.component import component
from eventmill.sdk.consumer import consumer
from eventmill.sdk.context import Context
from eventmill.sdk.effects import cancel, ignore, publish, schedule, send
from eventmill.sdk.entity import EventSourcedEntity, KeyValueEntity
from eventmill.sdk.handlers import command, on, query
from eventmill.sdk.service import Service
from eventmill.sdk.view import Record, View

__all__ = [
    "ConfigurationError",
    "Conflict",
    "Context",
    "Deleted",
    "Effect",
    "EntityDeleted",
    "Event",
    "EventSourcedEntity",
    "EventmillError",
    "InvalidPayload",
    "KeyValueEntity",
    "NotFound",
    "Overloaded",
    "Record",
    "Rejected",
    "Retry",
    "Service",
    "Topic",
    "Unavailable",
    "View",
    "cancel",
    "command",
    "component",
    "consumer",
    "event_type",
    "ignore",
    "on",
    "publish",
    "query",
    "schedule",
    "send",
    "upcast",
]
