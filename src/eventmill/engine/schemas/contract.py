"""The contract of a service: the schema of everything that is stored or sent, as one file.

A schema's name says what it is of: `events/cart/ItemAdded`, `commands/cart/add_item/arguments`,
`commands/cart/add_item/reply`, the same for `queries`, `rows/open-carts/open_carts`, `states/cart`,
`steps/transfer/deposit`, `actions/remind/arguments`, `windows/hourly`.

The file knows what code cannot: which versions of an event were stored before, and which fields
were dropped. And it says what each schema promises, which people change in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import Any, Final

import msgspec

from eventmill.engine.schemas.typed import Schema, schema_of, schema_of_replicated
from eventmill.engine.transforms.windows import shape_of
from eventmill.errors import InvalidPayload
from eventmill.model.definition import (
    ActionDefinition,
    EntityDefinition,
    ServiceDefinition,
    ViewDefinition,
    WorkflowDefinition,
)
from eventmill.model.events import EventType
from eventmill.model.handler import Handler
from eventmill.model.transform import TransformDefinition, Windowing

FORMAT: Final = 1
"""Of the file."""


class Compatibility(StrEnum):
    """What a change of a schema may not break."""

    BACKWARD = "backward"
    """This code reads what the release before wrote."""
    FORWARD = "forward"
    """The release before reads what this code writes."""
    FULL = "full"
    """Both."""
    NONE = "none"
    """Nothing is promised."""

    def includes(self, way: Compatibility) -> bool:
        """Whether it promises this one way."""
        return self in (way, Compatibility.FULL)


class Kept(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """One schema, and what is known of it."""

    compatibility: Compatibility
    schema: Schema
    version: int = 0
    """Of an event type, as everything below."""
    written: int = 0
    """The version that is stored, where a `@downcast` makes it an older one."""
    aliases: list[str] = []
    former: dict[str, Schema] = {}
    """Schemas of older versions that were stored."""
    dropped: list[str] = []
    """Fields that are gone; what is stored may have them."""

    @property
    def stored(self) -> int:
        """The version that is stored."""
        return self.written or self.version


class Contract(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All schemas of a service."""

    service: str
    schemas: dict[str, Kept]
    format: int = FORMAT


def contract_of(service: ServiceDefinition) -> Contract:
    """Make the contract of a service as its code is."""
    found: dict[str, Kept] = {}
    for entity in service.entities.values():
        found.update(_entity(entity))
    for topic in service.topics.values():
        found.update(_events(topic.id, topic.event_types()))
    for view in service.views.values():
        found.update(_view(view))
    for action in service.actions.values():
        found.update(_action(action))
    for transform in service.transforms.values():
        found.update(_transform(transform))
    return Contract(service.name, found)


def event_types_of(service: ServiceDefinition) -> dict[str, EventType]:
    """Return a service's event types by the names of their schemas."""
    sources: dict[str, Iterable[EventType]] = {
        **{entity.id: entity.event_types.values() for entity in service.entities.values()},
        **{topic.id: topic.event_types() for topic in service.topics.values()},
    }
    return {
        f"events/{source}/{kind.name}": kind for source, kinds in sources.items() for kind in kinds
    }


def read(text: bytes) -> Contract:
    """Read a file.

    Raises `InvalidPayload` for what is no such file, or one of another format.
    """
    try:
        contract = msgspec.json.decode(text, type=Contract)
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidPayload(f"it is no file of schemas: {error}") from error
    if contract.format != FORMAT:
        raise InvalidPayload(
            f"it has format {contract.format}, this Eventmill knows {FORMAT}: use the Eventmill "
            "that wrote it, or a newer one"
        )
    return contract


def write(contract: Contract) -> bytes:
    """Write a file: sorted and indented, so that a change of a type is a change of its lines."""
    encoded = msgspec.json.encode(contract, order="sorted")
    return msgspec.json.format(encoded, indent=2) + b"\n"


def _entity(entity: EntityDefinition) -> Iterator[tuple[str, Kept]]:
    # An event-sourced entity's state is folded from its events again; this one is what is stored.
    promise = Compatibility.BACKWARD if entity.is_key_value else Compatibility.NONE
    replicated = entity.replicated
    state = schema_of(entity.cls) if replicated is None else schema_of_replicated(replicated.fields)
    yield f"states/{entity.id}", Kept(promise, state)
    if entity.workflow is not None:
        yield from _steps(entity.id, entity.workflow)
    yield from _events(entity.id, entity.event_types.values())
    yield from _handlers("commands", entity.id, entity.commands.values())
    yield from _handlers("queries", entity.id, entity.queries.values())


def _steps(workflow: str, definition: WorkflowDefinition) -> Iterator[tuple[str, Kept]]:
    for name, step in definition.steps.items():
        # What was planned is run by the code that is there then.
        arguments = schema_of(step.handler.arguments_type)
        yield f"steps/{workflow}/{name}", Kept(Compatibility.BACKWARD, arguments)


def _action(action: ActionDefinition) -> Iterator[tuple[str, Kept]]:
    if action.schedule is None:  # its ticks are the platform's
        arguments = schema_of(action.handler.arguments_type)
        name = f"actions/{action.handler.component}/arguments"
        yield name, Kept(Compatibility.BACKWARD, arguments)


def _transform(transform: TransformDefinition) -> Iterator[tuple[str, Kept]]:
    """What it keeps of open windows. What a join keeps is events, as they were stored."""
    if not isinstance(transform.stage, Windowing):
        return
    types = [aggregate.state for aggregate in transform.stage.aggregates]
    states = schema_of(tuple[(*types,)])  # type: ignore[valid-type]
    definitions = states.pop("$defs", {})
    shape = {name: {"enum": [text]} for name, text in shape_of(transform.stage).items()}
    schema = {
        "type": "object",
        "properties": {**shape, "states": states},
        "required": sorted([*shape, "states"]),
        **({"$defs": definitions} if definitions else {}),
    }
    yield f"windows/{transform.id}", Kept(Compatibility.BACKWARD, schema)


def _view(view: ViewDefinition) -> Iterator[tuple[str, Kept]]:
    for table in view.tables.values():
        # Rows are made of the journal again.
        yield f"rows/{view.id}/{table.name}", Kept(Compatibility.NONE, schema_of(table.row))
    yield from _handlers("queries", view.id, (query.handler for query in view.queries.values()))


def _events(source: str, kinds: Iterable[EventType]) -> Iterator[tuple[str, Kept]]:
    for kind in dict.fromkeys(kinds):
        yield (
            f"events/{source}/{kind.name}",
            Kept(
                Compatibility.BACKWARD,
                schema_of(kind.cls),
                version=kind.version,
                written=kind.written if kind.written != kind.version else 0,
                aliases=sorted(kind.aliases),
            ),
        )


def _handlers(
    kind: str, component: str, handlers: Iterable[Handler[Any, Any]]
) -> Iterator[tuple[str, Kept]]:
    for handler in handlers:
        name = f"{kind}/{component}/{handler.name}"
        # Commands wait in the journal and with callers; answers go to callers of the release before.
        arguments = schema_of(handler.arguments_type)
        yield f"{name}/arguments", Kept(Compatibility.BACKWARD, arguments)
        yield f"{name}/reply", Kept(Compatibility.FORWARD, schema_of(handler.result_type))
