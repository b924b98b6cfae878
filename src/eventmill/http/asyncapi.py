"""The service's topics and entity event streams as an AsyncAPI 3.0 document."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

from eventmill.engine.cloudevent import BUILT_IN
from eventmill.http.schemas import PREFIX, Schema, Schemas, summary_of
from eventmill.model import cloudevents
from eventmill.model.definition import EntityDefinition, ServiceDefinition
from eventmill.model.entry import STATE, STEP
from eventmill.model.events import EventType
from eventmill.model.progress import WorkflowMoved

_NOT_IN_KEYS = re.compile(r"[^a-zA-Z0-9._-]")
_ADDRESS_OF: Final = "Followed by consumers, views and pushed subscriptions."


def document(service: ServiceDefinition) -> Schema:
    """Return the document as JSON-encodable data."""
    schemas = Schemas(service)
    messages: dict[str, Schema] = {}
    channels: dict[str, Schema] = {}
    operations: dict[str, Schema] = {}
    for topic in service.topics.values():
        kinds = _messages(topic.event_types(), schemas)
        messages.update(kinds)
        source = service.streams.get(topic.id)
        text = f"Service stream: public events of {source!r}." if source else "Topic."
        channels[topic.id] = _channel(f"/topics/{topic.id}", text, kinds)
        operations[f"publish-to-{topic.id}"] = _operation("receive", topic.id, "POST: publish.")
        operations[f"follow-{topic.id}"] = _operation("send", topic.id, "GET: follow.")
    for topic in service.foreign.values():
        kinds = _messages(topic.event_types(), schemas)
        messages.update(kinds)
        text = f"Topic {topic.name!r} of service {topic.service!r}, followed here."
        channels[topic.id] = _channel(None, text, kinds)
        operations[f"receive-from-{topic.id}"] = _operation("receive", topic.id, "Its messages.")
    for entity in service.entities.values():
        if entity.replicated is not None:
            continue  # its states are for this service's own consumers and views
        kinds = _messages({id(k): k for k in entity.event_types.values()}.values(), schemas)
        kinds.update(_built_in(entity, schemas))
        messages.update(kinds)
        channels[entity.id] = _channel(None, f"Events of {entity.id!r}. {_ADDRESS_OF}", kinds)
        operations[f"react-to-{entity.id}"] = _operation("send", entity.id, "Its events.")
    document: Schema = {
        "asyncapi": "3.0.0",
        "info": {"title": service.name, "version": "1"},
        "defaultContentType": cloudevents.STRUCTURED_TYPE,
        "channels": channels,
        "operations": operations,
        "components": {"messages": messages, "schemas": schemas.components},
    }
    return {name: _without_discriminators(part) for name, part in document.items()}


def _messages(kinds: Iterable[EventType], schemas: Schemas) -> dict[str, Schema]:
    messages: dict[str, Schema] = {}
    for kind in kinds:
        messages[_key(kind.name)] = {
            "name": kind.name,
            "title": f"{kind.name}, version {kind.version}",
            **summary_of(kind.cls),
            "contentType": cloudevents.STRUCTURED_TYPE,
            "payload": schemas.cloud_event_of(kind),
        }
    return messages


def _built_in(entity: EntityDefinition, schemas: Schemas) -> dict[str, Schema]:
    """Return what every entity emits besides its own events, and a key-value entity instead."""
    payloads: dict[str, Any] = {STATE: entity.cls, STEP: WorkflowMoved}
    kinds: dict[str, Schema] = {
        BUILT_IN[type]: schemas.of(payloads[type]) if type in payloads else {"type": "object"}
        for type in entity.own_types
    }
    return {
        _key(f"{entity.id}.{name}"): {
            "name": name,
            "contentType": cloudevents.STRUCTURED_TYPE,
            "payload": {
                "allOf": [
                    {"$ref": PREFIX + "CloudEvent"},
                    {"type": "object", "properties": {"type": {"const": name}, "data": data}},
                ]
            },
        }
        for name, data in kinds.items()
    }


def _channel(address: str | None, text: str, messages: dict[str, Schema]) -> Schema:
    references = {key: {"$ref": f"#/components/messages/{key}"} for key in messages}
    return {"address": address, "description": text, "messages": references}


def _operation(action: str, channel: str, text: str) -> Schema:
    pointer = channel.replace("/", "~1")
    return {"action": action, "channel": {"$ref": f"#/channels/{pointer}"}, "summary": text}


def _key(name: str) -> str:
    return _NOT_IN_KEYS.sub("_", name)


def _without_discriminators(data: Any) -> Any:
    """AsyncAPI's schemas have a discriminator of another shape than OpenAPI's; `anyOf` suffices."""
    if isinstance(data, dict):
        return {
            name: _without_discriminators(value)
            for name, value in data.items()
            if not (name == "discriminator" and isinstance(value, dict) and "mapping" in value)
        }
    if isinstance(data, list):
        return [_without_discriminators(value) for value in data]
    return data
