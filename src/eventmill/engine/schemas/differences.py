"""What is different in two schemas, in words, by the place where it is."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from eventmill.engine.schemas.fit import Path
from eventmill.engine.schemas.keywords import described, options_of, resolved, tags_of
from eventmill.engine.schemas.typed import Schema

_WALKED: Final = {"$defs", "properties", "required", "prefixItems", "anyOf", "oneOf", "default"}
"""Keywords that are compared part by part; so are `items` and the like, where they are schemas."""


class Differences:
    """The differences of two documents."""

    def __init__(self, old: Schema, new: Schema) -> None:
        self.notes: dict[Path, list[str]] = {}
        self.added: set[Path] = set()
        """Fields that came."""
        self.removed: set[Path] = set()
        """Fields that went."""
        self._old: Schema = old.get("$defs", {})
        self._new: Schema = new.get("$defs", {})
        self._open: set[tuple[int, int]] = set()
        self._walk(old, new, ())

    def _note(self, path: Path, text: str) -> None:
        if text not in self.notes.setdefault(path, []):
            self.notes[path].append(text)

    def _walk(self, old: Any, new: Any, path: Path) -> None:
        pair = (id(old), id(new))
        if pair in self._open:
            return
        self._open.add(pair)
        old, new = resolved(old, self._old), resolved(new, self._new)
        if isinstance(old, dict) and isinstance(new, dict):
            self._walk_schemas(old, new, path)
        elif old != new:
            self._changed(old, new, path)

    def _walk_schemas(self, old: Schema, new: Schema, path: Path) -> None:
        ours, theirs = options_of(old), options_of(new)
        if ours is not None and theirs is not None:
            self._walk_unions(ours, theirs, path)
            return
        walked = set(_WALKED)
        for name, part in (
            ("items", "[]"),
            ("additionalProperties", "*"),
            ("propertyNames", "[key]"),
        ):
            if isinstance(old.get(name), dict) and isinstance(new.get(name), dict):
                walked.add(name)
                self._walk(old[name], new[name], (*path, part))
        if "properties" in old and "properties" in new:
            self._walk_fields(old, new, path)
        elif "prefixItems" in old and "prefixItems" in new:
            self._walk_places(old["prefixItems"], new["prefixItems"], path)
        else:
            walked -= {"properties", "required", "prefixItems", "anyOf", "oneOf"}
        if _without(old, walked) != _without(new, walked):
            self._changed(old, new, path)

    def _walk_fields(self, old: Schema, new: Schema, path: Path) -> None:
        ours, theirs = old["properties"], new["properties"]
        for name in sorted({**ours, **theirs}):
            place = (*path, name)
            is_needed = name in new.get("required", [])
            if name not in theirs:
                self.removed.add(place)
                self._note(place, f"removed ({described(ours[name], self._old)})")
            elif name not in ours:
                self.added.add(place)
                self._note(
                    place,
                    f"added ({described(theirs[name], self._new)}{_default(theirs[name], is_needed)})",
                )
            else:
                if (was := name in old.get("required", [])) != is_needed:
                    self._note(place, "no longer needed" if was else "now needed")
                self._walk_defaults(ours[name], theirs[name], place)
                self._walk(ours[name], theirs[name], place)

    def _walk_defaults(self, old: Any, new: Any, path: Path) -> None:
        if (
            isinstance(old, dict)
            and isinstance(new, dict)
            and "default" in old
            and "default" in new
        ):
            was, now = (msgspec.json.encode(one["default"]).decode() for one in (old, new))
            if was != now:
                self._note(path, f"default {was:.40} → {now:.40}")

    def _walk_places(self, old: list[Any], new: list[Any], path: Path) -> None:
        for at in range(max(len(old), len(new))):
            place = (*path, f"[{at}]")
            if at >= len(new):
                self._note(place, f"removed ({described(old[at], self._old)})")
            elif at >= len(old):
                self._note(place, f"added ({described(new[at], self._new)})")
            else:
                self._walk(old[at], new[at], place)

    def _walk_unions(self, old: list[Any], new: list[Any], path: Path) -> None:
        ours = {_member(resolved(one, self._old)): one for one in old}
        theirs = {_member(resolved(one, self._new)): one for one in new}
        for key in sorted({**ours, **theirs}):
            if key not in theirs:
                self._note(path, f"no longer {described(ours[key], self._old)}")
            elif key not in ours:
                self._note(path, f"also {described(theirs[key], self._new)}")
            else:
                self._walk(ours[key], theirs[key], path)

    def _changed(self, old: Any, new: Any, path: Path) -> None:
        was, now = described(old, self._old), described(new, self._new)
        self._note(path, f"{was} → {now}" if was != now else "changed")


def _without(schema: Schema, walked: set[str]) -> Schema:
    return {name: value for name, value in schema.items() if name not in walked}


def _default(schema: Any, is_needed: bool) -> str:
    if is_needed:
        return ", needed"
    if isinstance(schema, dict) and "default" in schema:
        return f", default {msgspec.json.encode(schema['default']).decode():.40}"
    return ""


def _member(schema: Any) -> str:
    """Return what tells a union's members apart: their JSON types and tags."""
    if not isinstance(schema, dict):
        return str(schema)
    tags = [f"{name}={value}" for name, value in tags_of(schema).items()]
    return " ".join([str(schema.get("type", "values")), *tags])
