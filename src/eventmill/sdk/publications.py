"""Which topics a handler publishes to and which events it persists, as far as its code tells
without being run.

`publish(orders, …)` and, on an effect, `….publish(orders, …)` are seen when the topic is a plain
name, `self.persist(ItemAdded(…))` when the event is made in place by a plain name; what is reached
in another way shows when it runs (`engine.outgoing`, `engine.entity`).
"""

from __future__ import annotations

import ast
import dis
import inspect
import textwrap
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

from eventmill.model.events import is_event_class
from eventmill.model.topic import Topic
from eventmill.sdk.effects import publish

_METHODS = ("LOAD_METHOD", "LOAD_ATTR")


def published_topics(
    function: Callable[..., Any], *, effects: bool = False
) -> Iterator[Topic[Any]]:
    """Yield the topics; `effects`: a method named `publish` is an effect's, nothing else's."""
    known = {**function.__globals__, **inspect.getclosurevars(function).nonlocals}
    loads = [code for code in dis.get_instructions(function) if code.opname.startswith("LOAD_")]
    for callee, argument in pairwise(loads):
        topic = known.get(argument.argval)
        if not isinstance(topic, Topic):
            continue
        is_method = callee.opname in _METHODS
        if (effects and is_method and callee.argval == "publish") or (
            not is_method and known.get(callee.argval) is publish
        ):
            yield topic


def persisted_events(function: Callable[..., Any]) -> Iterator[type]:
    """Yield the event classes in `self.persist(ItemAdded(…), …)`."""
    if "persist" not in function.__code__.co_names:
        return
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, SyntaxError):
        return  # made without source
    known = {**function.__globals__, **inspect.getclosurevars(function).nonlocals}
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name(id="self"), attr="persist"), args=made):
                for event in made:
                    if isinstance(event, ast.Call) and isinstance(event.func, ast.Name):
                        found = known.get(event.func.id)
                        if isinstance(found, type) and is_event_class(found):
                            yield found
