"""JSON Schemas of the types that a service's contracts name: structs, dataclasses, Pydantic models.

All types go in at once, so that two classes of one name get different names everywhere.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import msgspec

from eventmill.model.definition import ServiceDefinition
from eventmill.model.endpoint import Shape
from eventmill.model.events import EventType
from eventmill.model.handler import Handler
from eventmill.model.progress import WorkflowMoved

Schema = dict[str, Any]

PREFIX: Final = "#/components/schemas/"

CLOUD_EVENT: Final[Schema] = {
    "title": "CloudEvent",
    "description": "An event in the JSON format of CloudEvents 1.0.",
    "type": "object",
    "required": ["id", "source", "specversion", "type"],
    "properties": {
        "id": {"type": "string", "minLength": 1},
        "source": {"type": "string", "minLength": 1, "format": "uri-reference"},
        "specversion": {"const": "1.0"},
        "type": {"type": "string", "minLength": 1},
        "subject": {"type": "string", "minLength": 1},
        "time": {"type": "string", "format": "date-time"},
        "datacontenttype": {"type": "string", "minLength": 1},
        "dataschema": {"type": "string", "minLength": 1, "format": "uri"},
        "eventversion": {
            "type": "integer",
            "minimum": 1,
            "description": "Version of the type's schema; without it, the current one.",
        },
    },
}


class Schemas:
    """The schemas of one service."""

    def __init__(self, service: ServiceDefinition) -> None:
        kinds = list(dict.fromkeys(_types_of(service)))
        self._models: dict[str, Schema] = {}
        found, components = msgspec.json.schema_components(
            kinds, schema_hook=self._of_model, ref_template=PREFIX + "{name}"
        )
        self._found: dict[Any, Schema] = dict(zip(kinds, found, strict=True))
        self.components: dict[str, Schema] = {
            "CloudEvent": CLOUD_EVENT,
            **self._models,
            **components,
        }

    def of(self, kind: Any) -> Schema:
        """Return the schema of a type that the service names, mostly a reference."""
        return self._found[kind]

    def parameters_of(self, handler: Handler[Any, Any]) -> dict[str, tuple[Schema, bool]]:
        """Return schema and whether it is required, by parameter."""
        fields = msgspec.structs.fields(handler.arguments_type)
        return {field.name: (self._of_field(field), field.required) for field in fields}

    def arguments_of(self, handler: Handler[Any, Any]) -> Schema:
        """Return the schema of a command's or query's JSON object of parameters."""
        parameters = self.parameters_of(handler)
        schema: Schema = {
            "type": "object",
            "properties": {name: schema for name, (schema, _) in parameters.items()},
            "additionalProperties": False,
        }
        required = [name for name, (_, needed) in parameters.items() if needed]
        return {**schema, "required": required} if required else schema

    def cloud_event_of(self, kind: EventType) -> Schema:
        """Return the schema of an event as CloudEvent."""
        own = {"type": {"enum": [kind.name, *kind.aliases]}, "data": self.of(kind.cls)}
        return {"allOf": [{"$ref": PREFIX + "CloudEvent"}, {"type": "object", "properties": own}]}

    def _of_field(self, field: msgspec.structs.FieldInfo) -> Schema:
        schema = dict(self.of(field.type))
        if field.default is not msgspec.NODEFAULT:
            schema["default"] = msgspec.to_builtins(field.default, enc_hook=str, str_keys=True)
        return schema

    def _of_model(self, cls: type) -> Schema:
        """Return the schema of a class that msgspec does not know: a Pydantic model, or anything."""
        make = getattr(cls, "model_json_schema", None)
        if make is None:
            return {}
        schema = make(ref_template=PREFIX + "{model}")
        self._models.update(schema.pop("$defs", {}))
        self._models[cls.__name__] = schema
        return {"$ref": PREFIX + cls.__name__}


def summary_of(documented: Any) -> dict[str, str]:
    """Return the first line of a docstring as summary, the rest as description."""
    first, _, rest = (documented.__doc__ or "").strip().partition("\n")
    described = {"summary": first, "description": rest.strip()}
    return {name: text for name, text in described.items() if text}


def _types_of(service: ServiceDefinition) -> Iterable[Any]:
    handlers: list[Handler[Any, Any]] = []
    for entity in service.entities.values():
        handlers += entity.handlers.values()
        yield from {kind.cls: None for kind in entity.event_types.values()}
        if entity.is_key_value and entity.replicated is None:
            yield entity.cls
        if entity.workflow is not None:
            yield WorkflowMoved
    for topic in (*service.topics.values(), *service.foreign.values()):
        yield from topic.types
    for view in service.views.values():
        handlers += (query.handler for query in view.queries.values())
        yield from (table.row for table in view.tables.values())
    for route in service.endpoints.routes:
        for arguments in (route.in_path, route.in_query, route.in_body):
            yield from (field.type for field in msgspec.structs.fields(arguments.arguments_type))
        if route.decode_body is not None:
            yield route.body_type
        if route.shape is Shape.ANSWER and route.result_type is not None:
            yield route.result_type
    for handler in handlers:
        yield handler.result_type
        yield from (field.type for field in msgspec.structs.fields(handler.arguments_type))
