"""Handlers: a component's commands and queries as values, typed by the method's own signature.

`Cart.add_item` is a `Handler[(sku: str, quantity: int), dict[str, int]]`: what a call validates its
arguments against, in every way into the road, and what its reply is encoded and decoded with.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Final, Generic, ParamSpec, TypeVar, get_args, get_type_hints

import msgspec
from msgspec import inspect as types

from eventmill.errors import ConfigurationError, InvalidPayload, TooLarge
from eventmill.model import codec, limits
from eventmill.model.problems import Problems

P = ParamSpec("P")
R_co = TypeVar("R_co", covariant=True)

Texts = dict[str, list[str]]
"""What a URL's query names, each with its values in their order."""

CHANGES: Final = "changes"
"""Last part of the path of an entity's changes: no command or query has this name."""

NO_VALUES = [""]
"""The texts of an empty list: a parameter that is left out has its default instead."""

_EXACT = (str, int, bool)


class Handler(Generic[P, R_co]):
    """One command or query of a component."""

    writes: bool = True
    """Whether it may change anything: commands do, queries do not."""
    is_of_workflow: bool = False
    """Whether its component is a workflow."""
    leading: int = 1
    """Parameters in front that no caller gives: self, and in a step the context."""
    invoke: Callable[..., Any]
    """Calls the method with its component and the arguments, in the parameters' order."""
    decode_reply: Callable[[bytes], Any]
    """Decodes a reply into the result type; null of any type is None."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.name = function.__name__
        self.component = ""
        """Component id; known once the class carries `@component`."""
        self.__doc__ = function.__doc__
        self.__wrapped__ = function
        self._owner: type | None = None
        self._resolved = False

    def __set_name__(self, owner: type, name: str) -> None:
        self._owner = owner

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.function.__qualname__}>"

    @property
    def place(self) -> str:
        """Where it is written, for messages."""
        code = self.function.__code__
        return f"{self.function.__qualname__} ({code.co_filename}:{code.co_firstlineno})"

    def resolve(self) -> None:
        """Read the signature; done once, when a service or a test kit takes the component in.

        Raises `ConfigurationError` that names the method when an annotation is missing or is of a
        type that JSON cannot carry.
        """
        if self._resolved:
            return
        try:
            hints = self._hints()
        except (NameError, TypeError) as error:
            raise ConfigurationError(f"{self.place}: annotation not understood: {error}") from error
        parameters = self._taken()
        problems = Problems()
        problems.found += filter(None, (self._problem_of(p, hints) for p in parameters))
        with problems.noting():
            self.result_type = self._result_of(hints.get("return", Any))
        problems.refuse()
        fields = [_field(parameter, hints[parameter.name]) for parameter in parameters]
        self.parameters = [parameter.name for parameter in parameters]
        self._keywords = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]
        self._positional = [p.name for p in parameters if p.kind is not p.KEYWORD_ONLY]
        self.invoke = self._invoke_with_keywords if self._keywords else self.function
        try:
            self.arguments_type = msgspec.defstruct(
                f"{self.name}_arguments", fields, forbid_unknown_fields=True, kw_only=True
            )
            self.lists = {name for name, kind, *_ in fields if _is_list(kind)}
            """Parameters that take several values."""
            self.is_exact = all(kind in _EXACT and not default for _, kind, *default in fields)
            """Whether what fits the types is read back as it was: no struct inside it holds a value
            that nobody checked, no number is a NaN."""
            self._decode = codec.decoder(self.arguments_type).decode
            self._written = msgspec.defstruct(f"{self.name}_written", self.parameters)
            self.decode_reply = codec.decoder(self.result_type | None).decode
        except TypeError as error:
            raise ConfigurationError(f"{self.place}: {error}") from error
        self._resolved = True

    def _hints(self) -> dict[str, Any]:
        """Return the annotations: of parameters with their bounds, `Annotated[int, Meta(ge=1)]`."""
        names = dict(vars(self._owner or object))
        whole = get_type_hints(self.function, localns=names, include_extras=True)
        if "return" in whole:  # who reads what a handler gives needs to know the type alone
            whole["return"] = get_type_hints(self.function, localns=names)["return"]
        return whole

    def _taken(self) -> list[inspect.Parameter]:
        """Return the parameters that a caller gives."""
        return list(inspect.signature(self.function).parameters.values())[self.leading :]

    def _problem_of(self, parameter: inspect.Parameter, hints: dict[str, Any]) -> str:
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            return f"{self.place}: *{parameter.name} is not possible; name each parameter"
        if parameter.name not in hints:
            return f"{self.place}: parameter {parameter.name!r} needs a type annotation"
        return ""

    def _result_of(self, annotation: Any) -> Any:
        return annotation

    def arguments(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...]:
        """Validate a Python call's arguments; return them in the parameters' order.

        Raises `InvalidPayload` that names the parameter.
        """
        if args:
            if len(args) > len(self._positional):
                raise InvalidPayload(
                    f"{self.component}.{self.name} takes {len(self._positional)} positional "
                    f"arguments, {len(args)} were given"
                )
            kwargs = {**dict(zip(self._positional, args, strict=False)), **kwargs}
        elif not kwargs and not self.parameters:
            return ()
        try:
            return msgspec.structs.astuple(codec.convert(kwargs, self.arguments_type))
        except (msgspec.ValidationError, ValueError, TypeError) as error:
            raise InvalidPayload(f"{self.component}.{self.name}: {error}") from error

    def decode_arguments(self, body: bytes) -> tuple[Any, ...]:
        """Validate a JSON object of arguments; an empty body means none.

        Raises `InvalidPayload` that names the parameter, `TooLarge` for what nests too deep.
        """
        try:
            return msgspec.structs.astuple(self._decode(body or b"{}"))
        except RecursionError as error:
            deepest = f"the body nests deeper than {limits.JSON_DEPTH_MAX} levels"
            raise TooLarge(deepest) from error
        except (msgspec.DecodeError, ValueError, TypeError) as error:
            raise InvalidPayload(f"{self.component}.{self.name}: {error}") from error

    def parse_arguments(self, texts: Texts) -> tuple[Any, ...]:
        """Validate arguments given as texts, as in a URL's query; numbers and booleans are parsed.

        Raises `InvalidPayload` that names the parameter.
        """
        values = {name: self._value(name, given) for name, given in texts.items()}
        try:
            return msgspec.structs.astuple(
                msgspec.convert(values, self.arguments_type, strict=False)
            )
        except (msgspec.ValidationError, ValueError, TypeError) as error:
            raise InvalidPayload(f"{self.component}.{self.name}: {error}") from error

    def _value(self, name: str, given: list[str]) -> str | list[str]:
        if name in self.lists:
            return [] if given == NO_VALUES else given
        if len(given) > 1:
            raise InvalidPayload(
                f"{self.component}.{self.name}: {name} is given {len(given)} times; it is one value"
            )
        return given[0]

    def write_arguments(self, arguments: tuple[Any, ...]) -> list[tuple[str, str]]:
        """Write arguments as the names and texts of a URL's query; None is told by leaving it out.

        Raises `InvalidPayload` for what no text tells, `TooLarge` for too many values.
        """
        place = f"{self.component}.{self.name}"
        pairs = []
        for name, value in zip(self.parameters, map(msgspec.to_builtins, arguments), strict=True):
            if value is None:
                continue
            values = value if name in self.lists else [value]
            if values == NO_VALUES or any(isinstance(v, list | dict | None) for v in values):
                raise InvalidPayload(f"{place}: {name}={value!r:.40} does not fit into a URL")
            pairs += [(name, _text(one)) for one in values or NO_VALUES]
        if len(pairs) > limits.URL_VALUES_MAX:
            most = limits.URL_VALUES_MAX
            raise TooLarge(f"{place}: a URL takes {most} values, not {len(pairs)}")
        return pairs

    def encode_arguments(self, arguments: tuple[Any, ...]) -> bytes:
        """Encode arguments as the JSON object that `decode_arguments` reads."""
        return codec.encode(self._written(*arguments))  # faster than a dict, to make and to encode

    def _invoke_with_keywords(self, component: Any, *arguments: Any) -> Any:
        split = len(self._positional)
        named = dict(zip(self._keywords, arguments[split:], strict=True))
        return self.function(component, *arguments[:split], **named)


def _field(parameter: inspect.Parameter, annotation: Any) -> Any:
    if parameter.default is parameter.empty:
        return (parameter.name, annotation)
    default = parameter.default
    if isinstance(default, list | dict | set):
        return (parameter.name, annotation, msgspec.field(default_factory=default.copy))
    return (parameter.name, annotation, default)


def _is_list(annotation: Any) -> bool:
    """Whether a parameter is a list, set or tuple, or None."""
    kind = types.type_info(annotation)
    kind = kind.type if isinstance(kind, types.Metadata) else kind
    members = kind.types if isinstance(kind, types.UnionType) else (kind,)
    return any(isinstance(member, _LISTS) for member in members) and all(
        isinstance(member, (*_LISTS, types.NoneType)) for member in members
    )


_LISTS = (
    types.ListType,
    types.SetType,
    types.FrozenSetType,
    types.VarTupleType,
    types.TupleType,
)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def effect_result(annotation: Any) -> Any:
    """Return T of an `Effect[T]` annotation."""
    arguments = get_args(annotation)
    return arguments[-1] if arguments else Any
