"""What all replicated types have in common: where a value lies, and what its parts are made of.

A field's annotation (`badges: ORSet[str]`) becomes a `Kind` when a service takes the class in; with a
kind and a place in a state, a value reads itself from the state's tree. Users' values are in the
tree as JSON texts, so that joining, storing and sending know nothing of users' classes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, Generic, Self, TypeVar, get_args, get_origin

import msgspec

from eventmill.errors import ConfigurationError
from eventmill.model import codec
from eventmill.model.replicated.causal import Causal, Map, Path

T = TypeVar("T")
V = TypeVar("V", bound="Value")

_NOWHERE = Causal()


class Texts(Generic[T]):
    """Values of one type as JSON texts and back."""

    __slots__ = ("_decode", "type")

    def __init__(self, type: Any) -> None:
        self.type = type
        self._decode: Callable[[str], T] = codec.decoder(type).decode

    def write(self, value: T) -> str:
        """Return the text of a value.

        Raises `TypeError` for one of another type.
        """
        text = codec.encode(value).decode()
        try:
            read = self._decode(text)
        except (msgspec.ValidationError, ValueError) as error:
            raise TypeError(f"{value!r:.80} is no {self.type}: {error}") from error
        return codec.encode(read).decode()  # 1 and 1.0 of a float are one element

    def read(self, text: str) -> T:
        """Return the value of a text."""
        return self._decode(text)


class Kind(Generic[V]):
    """What a field or a map's value is: its class, the type of its elements or keys, what is in it."""

    __slots__ = ("cls", "inner", "template", "texts")

    def __init__(
        self,
        cls: type[V],
        texts: Texts[Any] | None = None,
        inner: Kind[Any] | None = None,
        template: V | None = None,
    ) -> None:
        self.cls = cls
        self.texts = texts
        self.inner = inner
        self.template = template

    def at(self, state: Causal, path: Path) -> V:
        """Return the value that is at a place of a state, empty if nothing is there."""
        value = self.cls.__new__(self.cls) if self.template is None else self.template.copied()
        value._state, value._path, value._kind = state, path, self
        return value


class Value(ABC):
    """A replicated value. Operations return a `Change`; reading it changes nothing."""

    __slots__ = ("_kind", "_path", "_state")

    parameters: ClassVar[tuple[str, ...]] = ()
    """What its annotation names in brackets, for messages."""

    _state: Causal
    _path: Path
    _kind: Kind[Any]

    def __init__(self) -> None:
        self._state, self._path, self._kind = _NOWHERE, ("",), Kind(type(self))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.value!r}>"

    @property
    @abstractmethod
    def value(self) -> Any:
        """It as plain data."""

    def copied(self) -> Self:
        """Return another one with the same settings."""
        return type(self).__new__(type(self))

    @classmethod
    def kind(cls, arguments: tuple[Any, ...], template: Any) -> Kind[Any]:
        """Make the kind of a field.

        Raises `ConfigurationError` or `TypeError` for an annotation that says too little.
        """
        return Kind(cls, template=template)

    @property
    def _map(self) -> Map:
        found = self._state.find(self._path)
        return found if isinstance(found, Map) else Map()

    @property
    def _texts(self) -> Texts[Any]:
        assert self._kind.texts is not None
        return self._kind.texts


def kind_of(annotation: Any, template: Any = None) -> Kind[Any]:
    """Read the annotation of a field or of a map's values.

    Raises `ConfigurationError` that says what is wrong with it.
    """
    cls, arguments = get_origin(annotation) or annotation, get_args(annotation)
    if not (isinstance(cls, type) and issubclass(cls, Value) and cls is not Value):
        name = getattr(annotation, "__name__", annotation)
        raise ConfigurationError(
            f"{name} is not replicated: use GCounter, PNCounter, LWWRegister, MVRegister, GSet, "
            "ORSet, ORMap, CounterMap, RegisterMap, MultiMap, Flag or Vote"
        )
    if len(arguments) != len(cls.parameters):
        wanted = f"{cls.__name__}[{', '.join(cls.parameters)}]"
        raise ConfigurationError(f"write {wanted if cls.parameters else cls.__name__}")
    try:
        return cls.kind(arguments, template)
    except TypeError as error:
        raise ConfigurationError(str(error)) from error


def check_hashable(type_: Any) -> None:
    """Raise `TypeError` for a type that cannot be in a set or the key of a dict."""
    for member in get_args(type_) if get_origin(type_) not in (tuple, frozenset) else ():
        check_hashable(member)
    origin = get_origin(type_) or type_
    if not isinstance(origin, type):
        return
    if origin.__hash__ is None or (
        issubclass(origin, msgspec.Struct) and not origin.__struct_config__.frozen
    ):
        raise TypeError(
            f"{origin.__name__} cannot be an element or key, because it is not hashable: use a "
            "text, a number, a tuple or a frozen class"
        )
