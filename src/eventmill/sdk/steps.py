"""Reading a workflow's steps, and every mistake that would show only when one is run.

Called with the class by `sdk.reading`; each message names the method.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import msgspec

from eventmill.errors import ConfigurationError
from eventmill.model.definition import Source, StepDefinition, WorkflowDefinition
from eventmill.model.problems import Problems
from eventmill.model.workflow_effect import awaited_id
from eventmill.sdk.component import place_of
from eventmill.sdk.handlers import Command
from eventmill.sdk.reaction import source_of
from eventmill.sdk.topology.reading import names_of, resolved
from eventmill.sdk.workflow import Step, Workflow, name_of

_NEXT = frozenset({"go", "begin"})
"""Methods whose first argument is a step."""

_WAITS = frozenset({"wait_for", "wait_for_end"})
"""Methods whose first argument is what is waited for."""


def define_workflow(cls: type[Workflow]) -> WorkflowDefinition:
    """Read the steps of a workflow class.

    Raises `ConfigurationError` that tells every problem and names its method.
    """
    place, problems = place_of(cls), Problems()
    # A setting may hold a step too, under another name.
    steps = {n: v for n, v in vars(cls).items() if isinstance(v, Step) and v.name == n}
    if not steps:
        problems.found.append(f"{place}: a workflow needs at least one @step")
    for one in steps.values():
        with problems.noting(one.place):
            _check_step(one)
    problems.refuse()
    for one in steps.values():
        problems.found += _unfit(one, steps)
    for handler in vars(cls).values():
        if isinstance(handler, Step | Command):
            problems.found += _unknown_next(cls, handler, steps)
    sources: dict[str, Source] = {}
    for thing in cls.waits_on:
        with problems.noting(place):
            source = source_of(thing, f"{place}: waits_on")
            sources[source.id] = source
    for handler in vars(cls).values():
        if isinstance(handler, Step | Command):
            problems.found += _unread(handler, sources)
    with problems.noting(place):
        _check_limit(cls, steps)
    problems.refuse()
    return WorkflowDefinition(
        steps={
            name: StepDefinition(one, one.retry, one.timeout, one.failover, one.compensate)
            for name, one in steps.items()
        },
        sources=sources,
        timeout=cls.timeout,
        on_timeout=name_of(cls.on_timeout),
    )


def _check_step(one: Step[Any, Any]) -> None:
    problems = Problems()
    if not inspect.iscoroutinefunction(one.function):
        problems.found.append(f"{one.place}: a step is asynchronous: write async def")
    first = next(iter(inspect.signature(one.function).parameters), None)
    if first != "self":
        problems.found.append(f"{one.place}: its first parameter must be self")
    with problems.noting(one.place):
        one.resolve()
    problems.refuse()


def _unfit(one: Step[Any, Any], steps: dict[str, Step[Any, Any]]) -> Iterator[str]:
    """Yield what is wrong with the steps that a step names."""
    for option, name in (("failover", one.failover), ("compensate", one.compensate)):
        if not name:
            continue
        if name not in steps:
            yield f"{one.place}: {option}={name!r} is no @step; there is {', '.join(steps)}"
            continue
        if name == one.name:
            yield f"{one.place}: {option} names the step itself"
        missing = [n for n in _required(steps[name]) if n not in one.parameters]
        if missing:
            yield (
                f"{one.place}: its {option} step {name!r} takes {', '.join(missing)}, which this "
                "step has not; it may take this step's arguments, by their names"
            )


def _required(one: Step[Any, Any]) -> list[str]:
    return [field.name for field in msgspec.structs.fields(one.arguments_type) if field.required]


def _check_limit(cls: type[Workflow], steps: dict[str, Step[Any, Any]]) -> None:
    place, name = place_of(cls), name_of(cls.on_timeout)
    if cls.timeout is None:
        if name:
            raise ConfigurationError(f"{place}: on_timeout needs a timeout")
        return
    if not isinstance(cls.timeout, timedelta) or cls.timeout <= timedelta():
        raise ConfigurationError(f"{place}: timeout must be a timedelta above 0")
    if name and name not in steps:
        raise ConfigurationError(
            f"{place}: on_timeout={name!r} is no @step; there is {', '.join(steps)}"
        )
    if name and (required := _required(steps[name])):
        raise ConfigurationError(
            f"{place}: its on_timeout step {name!r} takes {', '.join(required)}, but nobody gives "
            "it arguments: let it read the state"
        )


def _unknown_next(cls: type, handler: Any, steps: dict[str, Any]) -> Iterator[str]:
    """Yield the steps that a handler names as `Transfer.step` and that there are not."""
    for node in _calls_of(_NEXT, handler):
        match node.args:
            case [ast.Attribute(value=ast.Name(id=owner), attr=name), *_] if (
                owner == cls.__name__ and name not in steps
            ):
                yield (
                    f"{handler.place}: {cls.__name__}.{name} is no @step; there is "
                    f"{', '.join(steps)}"
                )


def _unread(handler: Any, sources: dict[str, Source]) -> Iterator[str]:
    """Yield what a handler waits for although nobody reads it for the workflow."""
    for node in _calls_of(_WAITS, handler):
        named = resolved(node.args[0], names_of(handler.function)) if node.args else None
        id = awaited_id(named)
        if id and id not in sources:
            yield (
                f"{handler.place}: it waits for {id!r}, which nobody reads for it: add "
                f"{ast.unparse(node.args[0])} to waits_on of the workflow; it has "
                f"{', '.join(sources) or 'none'}"
            )


def _calls_of(methods: frozenset[str], handler: Any) -> Iterator[ast.Call]:
    """Yield the calls of some methods that a handler's source has."""
    if not methods & set(handler.function.__code__.co_names):
        return
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(handler.function)))
    except (OSError, SyntaxError):
        return  # made without source
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(attr=name)) if name in methods:
                yield node
