"""Which topics a handler publishes to, as far as its code tells without being run.

`publish(orders, …)` and, on an effect, `….publish(orders, …)` are seen when the topic is a plain
name; what is reached in another way shows when it runs (`engine.outgoing`).
"""

from __future__ import annotations

import dis
import inspect
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

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
