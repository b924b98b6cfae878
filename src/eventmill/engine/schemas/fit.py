"""Whether everything that one schema allows is read by the code of another.

`misfits(writer, reader)` returns the reasons why something may not be; none means that all of it
can. It follows what decoders do, not JSON Schema alone: fields that a class does not know are
passed over, a field with a default may be missing, numbers of a union go to the member of their
kind. What it does not understand it does not call readable.

A class writes no fields but its own: that an optional field, which comes new, has the name of
something else in older JSON is not seen here, but by the names that the file remembers
(`contract.Kept.dropped`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any

from eventmill.engine.schemas.keywords import (
    described,
    holds,
    implies,
    kind_of,
    kinds_of,
    narrowing,
    options_of,
    resolved,
    same_tags,
    shown,
    values_of,
)
from eventmill.engine.schemas.typed import Schema
from eventmill.model import limits

Path = tuple[str, ...]


class Cause(Enum):
    """What kind of reason it is: what to do depends on it."""

    MISSING = "missing"
    """The reader needs what may not be there."""
    REFUSED = "refused"
    """The reader takes no such field."""
    VALUE = "value"
    """The reader takes no such value."""


@dataclass(frozen=True, slots=True)
class Misfit:
    """A reason why something that was written may not be read."""

    path: Path
    cause: Cause
    text: str


def misfits(writer: Schema, reader: Schema) -> list[Misfit]:
    """Return why JSON that fits `writer` may not be read by `reader`, each reason once."""
    return list(dict.fromkeys(_Fitting(writer, reader).fit(writer, reader, ())))


def told(path: Path) -> str:
    """Write a path: `items[].sku`."""
    return "".join(part if part.startswith("[") else f".{part}" for part in path).lstrip(".")


class _Fitting:
    """Compares two documents."""

    def __init__(self, writer: Schema, reader: Schema) -> None:
        self._written: Schema = writer.get("$defs", {})
        self._read: Schema = reader.get("$defs", {})
        self._open: set[tuple[int, int]] = set()
        """Pairs that are being compared: a recursive type fits if nothing else speaks against it.
        What was compared is not kept: it may rest on an assumption that did not hold."""
        self._steps = 0

    def fit(self, writer: Any, reader: Any, path: Path) -> list[Misfit]:
        pair = (id(writer), id(reader))
        if pair in self._open:
            return []
        self._steps += 1
        if self._steps > limits.SCHEMA_STEPS_MAX:
            return [Misfit(path, Cause.VALUE, "is too large to be compared")]
        self._open.add(pair)
        try:
            found = resolved(writer, self._written), resolved(reader, self._read)
            return self._fit(*found, path)
        finally:
            self._open.discard(pair)

    def _fit(self, writer: Any, reader: Any, path: Path) -> list[Misfit]:
        if writer is False or reader is True or not narrowing(reader):
            return []
        if writer is True:
            writer = {}
        if reader is False:
            return [Misfit(path, Cause.REFUSED, "is not taken")]
        if (options := options_of(writer)) is not None:
            return [misfit for one in options for misfit in self.fit(one, reader, path)]
        if (values := values_of(writer)) is not None:
            strange = [value for value in values if not self.takes(value, reader)]
            return [Misfit(path, Cause.VALUE, f"{shown(strange)} is not read")] if strange else []
        if (options := options_of(reader)) is not None:
            if len(narrowing(reader)) > 1 and not isinstance(reader.get("type"), list):
                return [Misfit(path, Cause.VALUE, "cannot be compared")]
            return self._fit_union(writer, options, path)
        if (values := values_of(reader)) is not None:
            text = f"{described(writer)} is written, of which only {shown(values)} is read"
            return [Misfit(path, Cause.VALUE, text)]
        return self._fit_plain(writer, reader, path)

    def _fit_plain(self, writer: Schema, reader: Schema, path: Path) -> list[Misfit]:
        if writer.keys() | reader.keys() == {"python"} and writer == reader:
            return []
        kinds = writer.get("type"), reader.get("type", writer.get("type"))
        if kinds[0] is None or (kinds[0] != kinds[1] and kinds != ("integer", "number")):
            text = f"{described(writer)} is written, {described(reader)} is read"
            return [Misfit(path, Cause.VALUE, text)]
        found = [
            Misfit(path, Cause.VALUE, f"{name} {shown([reader[name]])} does not hold for all")
            for name in sorted(narrowing(reader))
            if not implies(writer, reader, name)
        ]
        if kinds[0] == "object":
            found += self._fit_objects(writer, reader, path)
        elif kinds[0] == "array":
            found += self._fit_arrays(writer, reader, path)
        return found

    def _fit_union(self, writer: Schema, options: list[Any], path: Path) -> list[Misfit]:
        members = self._members(writer.get("type", ""), options)
        if not members:
            return [Misfit(path, Cause.VALUE, f"{described(writer)} is not read")]
        members = [one for one in members if same_tags(writer, self._resolved(one))] or members
        return min((self.fit(writer, one, path) for one in members), key=len)

    def _members(self, kind: str, options: Iterable[Any]) -> list[Any]:
        """Return the members of a reader's union that a value of a JSON type goes to."""
        flat = list(self._flat(options))
        found = [one for one in flat if kind in kinds_of(self._resolved(one))]
        if not found and kind == "integer":
            found = [one for one in flat if "number" in kinds_of(self._resolved(one))]
        return found or [one for one in flat if not narrowing(self._resolved(one))]

    def _flat(self, options: Iterable[Any]) -> Iterator[Any]:
        for one in options:
            found = self._resolved(one)
            inner = options_of(found) if isinstance(found, dict) else None
            if inner is None:
                yield one
            else:
                yield from self._flat(inner)

    def _resolved(self, reader: Any) -> Any:
        return resolved(reader, self._read)

    def takes(self, value: Any, reader: Any) -> bool:
        """Whether a reader takes a value: a text, number, boolean or null."""
        reader = self._resolved(reader)
        if reader is True or not narrowing(reader):
            return reader is not False
        if (options := options_of(reader)) is not None:
            return any(self.takes(value, one) for one in self._members(kind_of(value), options))
        if (values := values_of(reader)) is not None:
            return any(type(one) is type(value) and one == value for one in values)
        kind = kind_of(value)
        if reader.get("type") not in (kind, "number" if kind == "integer" else kind):
            return False
        return all(holds(value, name, reader[name]) for name in narrowing(reader) - {"type"})

    def _fit_objects(self, writer: Schema, reader: Schema, path: Path) -> list[Misfit]:
        fields, known = writer.get("properties", {}), reader.get("properties", {})
        needed, sure = reader.get("required", []), writer.get("required", [])
        more = writer.get("additionalProperties", False if "properties" in writer else {})
        rest = reader.get("additionalProperties", {})
        found = [
            Misfit(
                (*path, name),
                Cause.MISSING,
                "is needed, and may be left out" if name in fields else "is needed, and not there",
            )
            for name in needed
            if name not in sure
        ]
        for name in sorted({**fields, **known}):
            found += self._fit_field(fields.get(name, more), known.get(name, rest), (*path, name))
        if more is not False:
            found += self._fit_field(more, rest, (*path, "*"))
        if "propertyNames" in reader:
            found += self._fit_names(writer, reader["propertyNames"], more is not False, path)
        least = writer.get("minProperties", len(sure))
        most = writer.get("maxProperties", len(fields) if more is False else math.inf)
        return found + _counted(least, most, reader, "Properties", path)

    def _fit_field(self, writer: Any, reader: Any, path: Path) -> list[Misfit]:
        if writer is not False and reader is False:
            return [Misfit(path, Cause.REFUSED, "is not taken")]
        return self.fit(writer, reader, path)

    def _fit_names(self, writer: Schema, names: Schema, others: bool, path: Path) -> list[Misfit]:
        readable = {"type": "string", **names}
        strange = [name for name in writer.get("properties", {}) if not self.takes(name, readable)]
        found = [Misfit(path, Cause.VALUE, f"key {name!r} is not read") for name in strange]
        if others:
            written = {"type": "string", **writer.get("propertyNames", {})}
            found += self.fit(written, readable, (*path, "[key]"))
        return found

    def _fit_arrays(self, writer: Schema, reader: Schema, path: Path) -> list[Misfit]:
        places, known = writer.get("prefixItems", []), reader.get("prefixItems", [])
        more = writer.get("items", False if places else {})
        rest = reader.get("items", {})
        most = writer.get("maxItems", math.inf)
        most = min(most, len(places)) if more is False else most
        number = max(len(places), len(known))
        found = []
        for at in range(int(min(number, most))):
            written = places[at] if at < len(places) else more
            read = known[at] if at < len(known) else rest
            found += self._fit_field(written, read, (*path, f"[{at}]"))
        if most > number:
            found += self._fit_field(more, rest, (*path, "[]"))
        return found + _counted(writer.get("minItems", 0), most, reader, "Items", path)


def _counted(least: float, most: float, reader: Schema, what: str, path: Path) -> list[Misfit]:
    found = []
    if reader.get(f"min{what}", 0) > least:
        text = f"has {least} {what.lower()} or more, {reader[f'min{what}']} are needed"
        found.append(Misfit(path, Cause.MISSING, text))
    if reader.get(f"max{what}", math.inf) < most:
        number = "any number of" if most == math.inf else f"up to {most}"
        text = f"has {number} {what.lower()}, {reader[f'max{what}']} are taken"
        found.append(Misfit(path, Cause.REFUSED, text))
    return found
