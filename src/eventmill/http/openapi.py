"""The service's HTTP contract as an OpenAPI 3.1 document, made from its definition."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from eventmill.http.problems import STATUS
from eventmill.http.schemas import PREFIX, Schema, Schemas, summary_of
from eventmill.http.views import FROZEN
from eventmill.model import cloudevents, limits
from eventmill.model.definition import EntityDefinition, ServiceDefinition, ViewDefinition
from eventmill.model.endpoint import EndpointDefinition, Shape
from eventmill.model.handler import CHANGES, Handler
from eventmill.model.page import is_page
from eventmill.model.topic import Topic
from eventmill.sdk.endpoints.paths import parts_of

_PROBLEM: Final[Schema] = {
    "title": "Problem",
    "description": "RFC 9457; `code` is stable.",
    "type": "object",
    "required": ["type", "title", "status", "code", "detail"],
    "properties": {
        "type": {"type": "string", "format": "uri"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "code": {"type": "string"},
        "detail": {"type": "string"},
        "details": {"type": "object"},
    },
}

_ID: Final[Schema] = {
    "name": "id",
    "in": "path",
    "required": True,
    "schema": {"type": "string", "minLength": 1, "maxLength": limits.SUBJECT_CHARACTERS_MAX},
}

_HEADERS: Final[dict[str, Schema]] = {
    "Idempotency-Key": {
        "description": "A repetition gets the first answer and has no second effect, for "
        f"{limits.IDEMPOTENCY_SECONDS // 3600} hours.",
        "schema": {
            "type": "string",
            "minLength": 1,
            "maxLength": limits.IDEMPOTENCY_KEY_CHARACTERS_MAX,
        },
    },
    "Request-Timeout": {
        "description": "Seconds from now after which it is no longer begun.",
        "schema": {"type": "number", "minimum": 0},
    },
    "X-Request-Id": {
        "description": "Kept in the events' metadata and given back.",
        "schema": {"type": "string", "maxLength": limits.SUBJECT_CHARACTERS_MAX},
    },
    "traceparent": {
        "description": "W3C trace context; kept in the events' metadata.",
        "schema": {"type": "string", "maxLength": limits.SUBJECT_CHARACTERS_MAX},
    },
    "Last-Event-ID": {
        "description": "Id of the last event that was seen; the stream goes on after it.",
        "schema": {"type": "string"},
    },
}

_STREAM: Final[Schema] = {
    "description": "A stream without an end.",
    "content": {"text/event-stream": {"schema": {"type": "string"}}},
}

_PLAIN: Final = {"string", "integer", "number", "boolean", "null"}

_COMMAND_PROBLEMS: Final = (400, 404, 408, 409, 410, 413, 415, 429, 500, 503, 504, 507)
_QUERY_PROBLEMS: Final = (400, 404, 406, 409, 410, 413, 414, 415, 429, 500, 503, 504)
_ENDPOINT_PROBLEMS: Final = (400, 404, 408, 413, 415, 429, 500, 503, 504)
_TOPIC_PROBLEMS: Final = (400, 404, 408, 413, 415, 429, 500, 503, 507)


def document(service: ServiceDefinition) -> Schema:
    """Return the document as JSON-encodable data."""
    schemas = Schemas(service)
    paths: dict[str, Schema] = {}
    for entity in service.entities.values():
        paths.update(_entity(entity, schemas))
        paths[f"/components/{entity.id}/{{id}}/{CHANGES}"] = _changes(entity)
    for view in service.views.values():
        paths.update(_view(view, schemas))
    for topic in service.topics.values():
        paths[f"/topics/{topic.id}"] = _topic(topic, schemas)
    for route in service.endpoints.routes:
        paths.setdefault(_plain(route.path), {}).update(_endpoint(route, schemas))
    paths.update(_built_in())
    return {
        "openapi": "3.1.0",
        "info": {"title": service.name, "version": "1"},
        "paths": paths,
        "components": {
            "schemas": {**schemas.components, "Problem": _PROBLEM},
            "responses": {
                str(status): _problem(status) for status in sorted({*STATUS.values(), 414})
            },
            "headers": {"Retry-After": {"schema": {"type": "integer"}}},
            "parameters": {
                name: {"name": name, "in": "header", **about} for name, about in _HEADERS.items()
            },
        },
    }


def _entity(entity: EntityDefinition, schemas: Schemas) -> Iterator[tuple[str, Schema]]:
    for name, handler in entity.handlers.items():
        operations = {"post": _post(entity.id, handler, schemas)}
        if not handler.writes and (texts := _url_parameters(handler, schemas)) is not None:
            operations["get"] = {
                "operationId": f"{entity.id}.{name}.get",
                "tags": [entity.id],
                **summary_of(handler),
                "parameters": [*texts, *_AS_OF, _header("Request-Timeout")],
                "responses": _of_query(
                    _responses(schemas.of(handler.result_type), _QUERY_PROBLEMS)
                ),
            }
        yield f"/components/{entity.id}/{{id}}/{name}", {"parameters": [_ID], **operations}


def _post(component: str, handler: Handler[Any, Any], schemas: Schemas) -> Schema:
    arguments = schemas.arguments_of(handler)
    headers = ("Idempotency-Key", "Request-Timeout", "X-Request-Id", "traceparent")
    return {
        "operationId": f"{component}.{handler.name}",
        "tags": [component],
        **summary_of(handler),
        "parameters": [_header(name) for name in headers[0 if handler.writes else 1 :]],
        "requestBody": {
            "required": "required" in arguments,
            "content": {"application/json": {"schema": arguments}},
        },
        "responses": _responses(schemas.of(handler.result_type), _COMMAND_PROBLEMS),
    }


def _url_parameters(handler: Handler[Any, Any], schemas: Schemas) -> list[Schema] | None:
    """Return a query's parameters for a URL, or None if one of them does not fit into a text."""
    parameters = []
    for name, (schema, required) in schemas.parameters_of(handler).items():
        parameter = {"name": name, "in": "query", "required": required, "schema": schema}
        values = schema
        if name in handler.lists:
            values, parameter = _repeated(parameter)
        options = values.get("anyOf", [values])
        if not all(option.get("type") in _PLAIN or "enum" in option for option in options):
            return None
        parameters.append(parameter)
    return parameters


def _repeated(parameter: Schema) -> tuple[Schema, Schema]:
    """Return what each value of a list is, and the parameter that takes all of them."""
    schema = parameter["schema"]
    # None is told by leaving the parameter out.
    (array,) = (option for option in schema.get("anyOf", [schema]) if option["type"] == "array")
    most = min(limits.URL_VALUES_MAX, array.get("maxItems", limits.URL_VALUES_MAX))
    described = {
        "description": f"Repeated for each value; `{parameter['name']}=` alone is the empty list.",
        "style": "form",
        "explode": True,
        "schema": {**array, "maxItems": most},
    }
    return array.get("items") or {}, parameter | described


def _view(view: ViewDefinition, schemas: Schemas) -> Iterator[tuple[str, Schema]]:
    for name, query in view.queries.items():
        rows = schemas.of(query.handler.result_type)
        responses = _responses(rows, _QUERY_PROBLEMS)
        responses = _of_query(responses, is_paged=is_page(query.handler.result_type))
        responses["200"]["headers"] = {FROZEN: {"schema": {"type": "string"}}}
        operation = {
            "operationId": f"{view.id}.{name}",
            "tags": [view.id],
            **summary_of(query.handler),
            "parameters": _url_parameters(query.handler, schemas) or [],
            "responses": responses,
        }
        yield f"/views/{view.id}/{name}", {"get": operation}


def _changes(entity: EntityDefinition) -> Schema:
    summary = "Follow one entity: CloudEvents, each with its sequence as id."
    return {"parameters": [_ID], "get": _follow(entity.id, CHANGES, summary)}


def _follow(followed: str, operation: str, summary: str) -> Schema:
    """Return a stream of what happens from now on, or from a place that is given."""
    start = {"name": "from", "in": "query", "schema": {"type": "string", "default": "latest"}}
    return {
        "operationId": f"{followed}.{operation}",
        "tags": [followed],
        "summary": summary,
        "parameters": [start, _header("Last-Event-ID")],
        "responses": {"200": _STREAM, **_problems((400, 404, 406, 429))},
    }


def _endpoint(route: EndpointDefinition, schemas: Schemas) -> dict[str, Schema]:
    method = "get" if route.shape is Shape.SOCKET else route.method.lower()
    names = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"} | schema}
        for name, schema in _path_parameters(route, schemas)
    ]
    operation: Schema = {
        "operationId": f"{method}:{_plain(route.path)}",
        "tags": [route.path.split("/")[1] or "/"],
        **summary_of(route.function),
        "parameters": [*names, *(_url_parameters(route.in_query, schemas) or [])],
        "responses": {**_answer_of(route, schemas), **_problems(_ENDPOINT_PROBLEMS)},
    }
    if route.takes_json:
        whole = schemas.of(route.body_type) if route.decode_body else None
        schema = schemas.arguments_of(route.in_body) if whole is None else whole
        content = {"application/json": {"schema": schema}}
        operation["requestBody"] = {"required": True, "content": content}
    return {method: operation}


def _path_parameters(route: EndpointDefinition, schemas: Schemas) -> Iterator[tuple[str, Schema]]:
    known = schemas.parameters_of(route.in_path)
    for part in parts_of(route.path):
        if part.is_parameter:
            yield part.text, known[part.text][0] if part.text in known else {}


def _answer_of(route: EndpointDefinition, schemas: Schemas) -> dict[str, Schema]:
    if route.shape is Shape.SOCKET:
        return {"101": {"description": "A WebSocket."}}
    if route.shape is Shape.STREAM:
        return {"200": _STREAM}
    if route.result_type is type(None):
        return {str(204 if route.status == 200 else route.status): {"description": "Done."}}
    answer: Schema = {"description": "The answer."}
    if route.result_type is not None:
        answer["content"] = {"application/json": {"schema": schemas.of(route.result_type)}}
    return {str(route.status): answer}


def _plain(path: str) -> str:
    return path.replace(":path}", "}")


def _topic(topic: Topic[Any], schemas: Schemas) -> Schema:
    event = {"anyOf": [schemas.cloud_event_of(kind) for kind in topic.event_types()]}
    batch = {"type": "array", "items": event, "maxItems": limits.BATCH_EVENTS_MAX}
    data = {"anyOf": [schemas.of(cls) for cls in topic.types]}
    counts = {
        "type": "object",
        "required": ["accepted", "duplicates"],
        "properties": {"accepted": {"type": "integer"}, "duplicates": {"type": "integer"}},
    }
    publish = {
        "operationId": f"{topic.id}.publish",
        "tags": [topic.id],
        "summary": "Publish CloudEvents: structured, batch, or binary with `ce-` headers.",
        "parameters": [_header("X-Request-Id"), _header("traceparent"), *_BINARY],
        "requestBody": {
            "required": True,
            "content": {
                cloudevents.STRUCTURED_TYPE: {"schema": event},
                cloudevents.BATCH_TYPE: {"schema": batch},
                cloudevents.JSON_TYPE: {"schema": data},
            },
        },
        "responses": {
            "202": {
                "description": "The events are durable.",
                "content": {"application/json": {"schema": counts}},
            },
            **_problems(_TOPIC_PROBLEMS),
        },
    }
    summary = "Follow the topic: CloudEvents in structured mode, one an event of the stream."
    return {"post": publish, "get": _follow(topic.id, "follow", summary)}


def _built_in() -> Iterator[tuple[str, Schema]]:
    json, text = "application/json", "text/plain"
    for path, summary, kind in (
        ("/openapi.json", "This document.", json),
        ("/asyncapi.json", "The service's topics and event streams.", json),
        ("/health/live", "Whether the process answers.", json),
        ("/health/ready", "Whether it can do its work.", json),
        ("/metrics", "Numbers for Prometheus.", text),
    ):
        answers: Schema = {"200": {"description": summary, "content": {kind: {}}}}
        if path == "/health/ready":
            answers["503"] = {"description": "Not now; the reasons.", "content": {kind: {}}}
        operation_id = path.strip("/").replace("/", ".")
        yield path, {"get": {"operationId": operation_id, "summary": summary, "responses": answers}}


def _responses(answer: Schema, problems: tuple[int, ...]) -> dict[str, Schema]:
    content = {"application/json": {"schema": answer}}
    return {"200": {"description": "The answer.", "content": content}, **_problems(problems)}


def _of_query(responses: dict[str, Schema], *, is_paged: bool = False) -> dict[str, Schema]:
    """Add the other forms that a query answers in."""
    forms = ["text/event-stream"] if is_paged else ["application/x-ndjson", "text/event-stream"]
    text = {"schema": {"type": "string"}}
    responses["200"]["content"] |= dict.fromkeys(forms, text)
    return responses


def _problems(statuses: tuple[int, ...]) -> dict[str, Schema]:
    return {str(status): {"$ref": f"#/components/responses/{status}"} for status in statuses}


def _problem(status: int) -> Schema:
    if status == 414:
        return {
            "description": "The URL has more than 64 KiB. Refused by the server, without a body."
        }
    classes = [cls for cls, number in STATUS.items() if number == status]
    text = " ".join((cls.__doc__ or "").strip().split("\n")[0] for cls in classes)
    content = {"application/problem+json": {"schema": {"$ref": PREFIX + "Problem"}}}
    response: Schema = {"description": text, "content": content}
    if status in (429, 503, 504, 507):
        response["headers"] = {"Retry-After": {"$ref": "#/components/headers/Retry-After"}}
    return response


def _header(name: str) -> Schema:
    return {"$ref": f"#/components/parameters/{name}"}


_BINARY: Final[list[Schema]] = [
    {
        "name": f"ce-{name}",
        "in": "header",
        "description": "Of an event in binary mode, whose data is the body.",
        "schema": {"type": "string"},
    }
    for name in ("id", "source", "specversion", "type", "subject", "time")
]

_AS_OF: Final[list[Schema]] = [
    {
        "name": "as_of_sequence",
        "in": "query",
        "description": "The entity as it was after its event of this number.",
        "schema": {"type": "integer", "minimum": 0},
    },
    {
        "name": "as_of_time",
        "in": "query",
        "description": "The entity as it was at this time.",
        "schema": {"type": "string", "format": "date-time"},
    },
]
