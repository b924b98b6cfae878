"""Timers and schedules from the command line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.commands import PROJECT, RunningNode, eventmill


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningNode]:
    data = tmp_path_factory.mktemp("watch") / "data"
    with RunningNode(data, target="watch:service") as running:
        yield running


def test_a_timer_is_listed_and_cancelled(node: RunningNode) -> None:
    node.json("entities", "call", "guard", "g", "look_later", "what=smoke")
    timers = {timer["name"]: timer for timer in node.json("timers", "list")}
    assert set(timers) == {"look", "see"}
    pages = [node.json("timers", "list", "--all", "--limit", str(n)) for n in (1, 99)]
    assert [[timer["name"] for timer in page] for page in pages] == [
        ["$tick/round"],
        ["$tick/round", "look", "see"],
    ]
    assert [timer["name"] for timer in node.json("timers", "list", "--limit", "1")] == ["look"]
    assert (timers["look"]["component"], timers["look"]["id"]) == ("look", "look")
    assert timers["look"]["arguments"] == {"what": "smoke"}
    assert node.run("timers", "cancel", "see").out == "No timer see any more.\n"
    assert node.run("timers", "cancel", "see").code == 0
    assert [timer["name"] for timer in node.json("timers", "list")] == ["look"]
    refused = node.run("timers", "cancel", "$tick/round")
    assert refused.code == 1
    assert "the platform's own" in refused.err


def test_a_schedule_is_listed_run_paused_and_resumed(node: RunningNode) -> None:
    (listed,) = node.json("schedules", "list")
    assert (listed["name"], listed["schedule"]) == ("round", "0 3 * * * (Europe/Berlin)")
    assert listed["next"].endswith(":00:00.000000Z")
    assert (listed["missed"], listed["paused"]) == ("once", False)
    assert "0 3 * * *" in node.run("schedules", "list").out
    assert node.run("schedules", "pause", "round").out == "round is paused.\n"
    assert node.json("schedules", "list")[0]["paused"]
    assert node.run("schedules", "run", "round").out == "round runs.\n"
    node.until(("entities", "call", "guard", "g", "content"), lambda seen: seen == ["all quiet"])
    assert "round runs again: next at 20" in node.run("schedules", "resume", "round").out
    unknown = node.run("schedules", "run", "square")
    assert (unknown.code, "there is round" in unknown.err) == (1, True)


def test_actions_are_followed_like_consumers(node: RunningNode) -> None:
    kinds = {row["name"]: row["kind"] for row in node.json("consumers", "list")}
    assert (kinds["look"], kinds["round"]) == ("action", "action")
    described = node.json("services", "describe", "watch")
    found = {part["id"]: part["kind"] for part in described["components"]}
    assert (found["look"], found["round"]) == ("action", "action")


def test_check_draws_them_and_knows_what_waits_for_them(tmp_path: Path) -> None:
    drawn = eventmill("check", "watch:service").out
    assert "look   action" in drawn
    assert "── schedules ──▶ look" in drawn
    assert "0 3 * * * (Europe/Berlin)" in drawn
    assert "[/" in eventmill("check", "watch:service", "--mermaid").out
    data = tmp_path / "data"
    with RunningNode(data, target="watch:service") as running:
        running.json("entities", "call", "guard", "g", "look_later", "what=smoke")
        running.json("schedules", "run", "round")
        running.settled()
        assert running.stop() == 0
    assert eventmill("check", "watch", "--data", str(data)).code == 0
    text = (PROJECT / "watch.py").read_text()
    for old, new, problem in [
        ('@timed("look")', '@timed("watch")', "timer 'look' is for look/look, but there is no"),
        ("ctx: Context, what: str)", "ctx: Context, what: int)", "timer 'look' does not fit"),
    ]:
        (tmp_path / "changed.py").write_text(text.replace(old, new))
        refused = eventmill("check", "changed", "--data", str(data), cwd=tmp_path)
        assert (refused.code, problem in refused.out) == (1, True), refused.out
