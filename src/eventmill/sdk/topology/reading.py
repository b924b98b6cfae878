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

from eventmill.model.action import Action
from eventmill.model.handler import Handler
from eventmill.model.topic import Topic
from eventmill.sdk.context import Context

DEPTH_MAX = 8
"""Calls of helper functions that are followed."""

EFFECTS = frozenset({"publish", "send", "schedule", "start_child"})
WAITS = frozenset({"call", "query"})


@dataclass(frozen=True)
class Mention:
    """A place where a handler reaches another part."""

    verb: str
    """`publish`, `send`, `schedule`, `start_child`, `call` or `query`."""
    target: str
    """Component or topic id, with `service/` in front if it is another's; source text in `‹…›` when
    it is computed."""
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
        names = names_of(function)
        callers = _callers_of(function, tree, names)
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call):
                continue
            mention = _mention(node, names, callers)
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
    node: ast.Call, names: dict[str, Any], callers: dict[str, str]
) -> tuple[str, str, str] | None:
    service: str | None = None
    match node.func:
        case ast.Name(id=verb):
            pass
        case ast.Attribute(value=base, attr=verb):
            service = _service_of(base, names, callers)
        case _:
            return None
    if verb in WAITS and service is not None and node.args:
        component, name = _asked(node.args[0], names)
        return verb, service + component, name
    if verb in EFFECTS:
        for argument in node.args:
            target = resolved(argument, names)
            if isinstance(target, Topic) and verb == "publish":
                return verb, target.id, ""
            if isinstance(target, Handler) and verb != "publish" and target.component:
                return verb, target.component, target.name
            if isinstance(target, Action) and verb == "schedule":
                return verb, target.id, ""
    return None


def _service_of(node: ast.expr, names: dict[str, Any], callers: dict[str, str]) -> str | None:
    """Whom a call goes to: the service it is in (empty), another one; None: it is no call of ours."""
    match node:
        case ast.Name(id=name):
            return callers.get(name)
        case ast.Call(func=ast.Attribute(value=ast.Name(id=base), attr="service"), args=[named]):
            return f"{_written(named, names)}/" if callers.get(base) == "" else None
    return None


def _asked(node: ast.expr, names: dict[str, Any]) -> tuple[str, str]:
    """Component and handler that a call names: by the method itself, or as a text."""
    target = node.value if isinstance(node, ast.Constant) else resolved(node, names)
    if isinstance(target, Handler) and target.component:
        return target.component, target.name
    if isinstance(target, str):
        component, _, name = target.rpartition(".")
        return component, name
    return f"‹{ast.unparse(node)}›", ""


def _written(node: ast.expr, names: dict[str, Any]) -> str:
    """Return a text given as such or by the name of a constant, or else its source."""
    found = node.value if isinstance(node, ast.Constant) else resolved(node, names)
    return found if isinstance(found, str) else f"‹{ast.unparse(node)}›"


def resolved(node: ast.expr, names: dict[str, Any]) -> Any:
    """Look up `name` or `name.attribute…` without running anything but attribute access."""
    match node:
        case ast.Name(id=name):
            return names.get(name)
        case ast.Attribute(value=value, attr=attribute):
            owner = resolved(value, names)
            if isinstance(owner, type) or inspect.ismodule(owner):
                return getattr(owner, attribute, None)
    return None


def names_of(function: Callable[..., Any]) -> dict[str, Any]:
    """Return what the names in a function mean, apart from its own variables."""
    variables = inspect.getclosurevars(function)
    return {**function.__globals__, **variables.nonlocals}


def _contexts_of(function: Callable[..., Any]) -> set[str]:
    """Return the names of the parameters that are a `Context`."""
    try:
        hints = get_type_hints(function)
    except (NameError, TypeError):
        return set()
    return {
        name for name, kind in hints.items() if isinstance(kind, type) and issubclass(kind, Context)
    }


def _callers_of(
    function: Callable[..., Any], tree: ast.AST, names: dict[str, Any]
) -> dict[str, str]:
    """Return the names that calls are made through: contexts, and services kept in a variable."""
    callers = dict.fromkeys(_contexts_of(function), "")
    for node in ast.walk(tree):
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                service = _service_of(value, names, callers)
                if isinstance(value, ast.Call) and service:
                    callers[name] = service
    return callers


def _relative(file: str) -> str:
    try:
        return str(Path(file).relative_to(Path.cwd()))
    except ValueError:
        return file
