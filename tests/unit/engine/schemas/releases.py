"""Releases of a service: the same code with some lines changed."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest

from eventmill import Service
from eventmill.engine.schemas.changes import Change, changes
from eventmill.engine.schemas.contract import Contract, contract_of, event_types_of


class Release:
    """The service of a module's text, with some lines changed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, text: str, *edits: tuple[str, str]) -> None:
        for old, new in edits:
            assert old in text
            text = text.replace(old, new)
        self.module = ModuleType("shop_release")
        monkeypatch.setitem(sys.modules, "shop_release", self.module)
        exec(text, vars(self.module))
        made: Service = self.module.service
        self.definition, problems = made.define()
        assert not problems
        self.contract = contract_of(self.definition)

    def after(self, file: Contract) -> list[Change]:
        return changes(file, self.contract, event_types_of(self.definition))


Make = Any


def only(found: list[Change]) -> Change:
    (change,) = found
    return change
