"""Reading a replicated entity's class: its fields and handlers, and every mistake that shows in them.

Called when a service or a test kit takes the class in, as `sdk.reading` for the other entities.
"""

from __future__ import annotations

from typing import Any, get_args

from eventmill.errors import ConfigurationError
from eventmill.model.definition import Consistency, EntityDefinition, Replicated
from eventmill.model.problems import Problems
from eventmill.model.replicated.value import Kind
from eventmill.sdk.component import id_of, place_of
from eventmill.sdk.handlers import ON
from eventmill.sdk.reading import check_names, check_spans, handlers_of
from eventmill.sdk.replicated import (
    ReplicatedEntity,
    encode_state,
    kinds_of,
    show_state,
    state_decoder,
)


def define_replicated(cls: type[ReplicatedEntity]) -> EntityDefinition:
    """Read a replicated entity's class.

    Raises `ConfigurationError` that tells every problem and names its place.
    """
    id, place, problems = id_of(cls), place_of(cls), Problems()
    with problems.noting(place):
        check_names(cls)
        check_spans(cls)
    with problems.noting(place):
        _check_consistency(cls)
    commands, queries = handlers_of(cls, problems)
    problems.found += [
        f"{place_of(member)}: a replicated entity has no @on: its operations say what changes"
        for member in vars(cls).values()
        if hasattr(member, ON)
    ]
    fields: dict[str, Kind[Any]] = {}
    with problems.noting():
        fields = kinds_of(cls)
    problems.refuse()
    return EntityDefinition(
        id=id,
        cls=cls,
        commands=commands,
        queries=queries,
        folds={},
        event_types={},
        is_key_value=True,
        snapshot_every=0,
        retention=cls.retention,
        keep_history=cls.keep_history,
        encode_state=encode_state,
        decode_state=state_decoder(cls),
        replicated=Replicated(fields, cls.write_consistency, show_state),
    )


def _check_consistency(cls: type[ReplicatedEntity]) -> None:
    if cls.write_consistency not in get_args(Consistency):
        raise ConfigurationError(
            f"{place_of(cls)}: write_consistency is 'local', 'majority' or 'all', not "
            f"{cls.write_consistency!r}"
        )
