"""Reading handlers' source: which topics they publish to, which components they send to and call.

Only what is written is seen: `publish(orders, …)`, `ctx.call(Cart.add_item, …)`, in a handler or in
functions of the same project that it calls. A target that is computed is shown as its source text.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_type_hints

from eventmill.model.handler import Handler
from eventmill.model.topic import Topic
from eventmill.sdk.context import Context

DEPTH_MAX = 8
"""Calls of helper functions that are followed."""

EFFECTS = frozenset({"publish", "send", "schedule"})
WAITS = frozenset({"call", "query"})


@dataclass(frozen=True)
class Mention:
    """A place where a handler reaches another part."""

    verb: str
    """`publish`, `send`, `schedule`, `call` or `query`."""
    target: str
    """Component or topic id, or source text in `‹…›` when it is computed."""
    what: str
    """Command or query; empty for a topic."""
    place: str
    """`file:line`."""


def mentions_of(function: Callable[..., Any], owner: type | None) -> list[Mention]:
    """Read a handler; `owner` is its class, for helper methods."""
    return list(_Reader(owner).read(inspect.unwrap(function), 0))


class _Reader:
    def __init__(self, owner: type | None) -> None:
        self._owner = owner
        self._seen: set[Any] = set()

    def read(self, function: Callable[..., Any], depth: int) -> Iterator[Mention]:
        code = getattr(function, "__code__", None)
        if code is None or code in self._seen or depth > DEPTH_MAX:
            return
        self._seen.add(code)
        try:
            tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
        except (OSError, SyntaxError):
            return  # made without source: nothing can be read
        names = _names_of(function)
        contexts = _contexts_of(function)
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call):
                continue
            mention = _mention(node, names, contexts)
            if mention is not None:
                line = code.co_firstlineno + node.lineno - 1
                yield Mention(*mention, f"{_relative(code.co_filename)}:{line}")
            helper = self._helper(node, names, function)
            if helper is not None:
                yield from self.read(helper, depth + 1)

    def _helper(
        self, node: ast.Call, names: dict[str, Any], caller: Callable[..., Any]
    ) -> Callable[..., Any] | None:
        match node.func:
            case ast.Name(id=name):
                found = names.get(name)
            case ast.Attribute(value=ast.Name(id="self"), attr=name) if self._owner is not None:
                found = vars(self._owner).get(name)
            case _:
                return None
        project = caller.__module__.partition(".")[0]
        if inspect.isfunction(found) and found.__module__.partition(".")[0] == project:
            return found
        return None


def _mention(
    node: ast.Call, names: dict[str, Any], contexts: set[str]
) -> tuple[str, str, str] | None:
    match node.func:
        case ast.Name(id=verb):
            is_wait = False
        case ast.Attribute(value=ast.Name(id=base), attr=verb):
            is_wait = base in contexts
        case ast.Attribute(attr=verb):
            is_wait = False
        case _:
            return None
    if verb in WAITS and is_wait and node.args:
        target = _resolved(node.args[0], names)
        if isinstance(target, Handler) and target.component:
            return verb, target.component, target.name
        return verb, f"‹{ast.unparse(node.args[0])}›", ""
    if verb in EFFECTS:
        for argument in node.args:
            target = _resolved(argument, names)
            if isinstance(target, Topic) and verb == "publish":
                return verb, target.id, ""
            if isinstance(target, Handler) and verb != "publish" and target.component:
                return verb, target.component, target.name
    return None


def _resolved(node: ast.expr, names: dict[str, Any]) -> Any:
    """Look up `name` or `name.attribute…` without running anything but attribute access."""
    match node:
        case ast.Name(id=name):
            return names.get(name)
        case ast.Attribute(value=value, attr=attribute):
            owner = _resolved(value, names)
            if isinstance(owner, type) or inspect.ismodule(owner):
                return getattr(owner, attribute, None)
    return None


def _names_of(function: Callable[..., Any]) -> dict[str, Any]:
    variables = inspect.getclosurevars(function)
    return {**function.__globals__, **variables.nonlocals}


def _contexts_of(function: Callable[..., Any]) -> set[str]:
    """Return the names of the parameters that are a `Context`."""
    try:
        hints = get_type_hints(function)
    except (NameError, TypeError):
        return set()
    return {name for name, kind in hints.items() if kind is Context}


def _relative(file: str) -> str:
    try:
        return str(Path(file).relative_to(Path.cwd()))
    except ValueError:
        return file
