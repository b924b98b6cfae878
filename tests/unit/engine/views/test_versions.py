"""Versions of a view: each definition goes by its own."""

from __future__ import annotations

import pytest

from eventmill.engine.views.definition import CompiledView, compile_view
from eventmill.engine.views.versions import Stage, Versions
from tests.flow.sums import Sums, TenfoldSums, service


def compiled(view: type[Sums | TenfoldSums]) -> CompiledView:
    definition, problems = service(view).define()
    assert problems == []
    return compile_view(definition.views["sums"])


OLD, NEW = compiled(Sums), compiled(TenfoldSums)


def roles(versions: Versions, view: CompiledView) -> tuple[int | None, int | None, int | None]:
    """What answers, what is built, what of another definition is ready."""
    return versions.serving(view), versions.building(view), versions.foreign(view)


def test_a_version_is_built_then_ready_then_replaced_by_the_next() -> None:
    assert roles(Versions(), OLD) == (None, None, None)
    first = Versions().begun(OLD)
    assert roles(first, OLD) == (None, 1, None)
    ready = first.staged([1], Stage.READY)
    assert roles(ready, OLD) == (1, None, None)
    rebuilt = ready.begun(OLD)
    assert roles(rebuilt, OLD) == (1, 2, None)
    assert roles(rebuilt.staged([2], Stage.READY), OLD) == (2, None, None)


def test_two_definitions_want_nothing_of_each_other() -> None:
    both = Versions().begun(OLD).staged([1], Stage.READY).begun(NEW)
    assert roles(both, OLD) == (1, None, None)
    assert roles(both, NEW) == (None, 2, 1)
    both = both.staged([2], Stage.READY)
    assert roles(both, OLD) == (1, None, 2)
    assert roles(both, NEW) == (2, None, 1)


@pytest.mark.parametrize("stage", [Stage.BUILDING, Stage.READY])
def test_a_leaving_version_is_nobodys_and_its_number_is_not_used_again(stage: Stage) -> None:
    leaving = Versions().begun(OLD).staged([1], stage).staged([1], Stage.LEAVING)
    assert roles(leaving, OLD) == (None, None, None)
    assert roles(leaving, NEW) == (None, None, None)
    assert leaving.known[1].names("sums", 1) == ["v_sums@1:sums"]
    gone = leaving.without([1])
    assert (gone.known, gone.begun(OLD).building(OLD)) == ({}, 2)
