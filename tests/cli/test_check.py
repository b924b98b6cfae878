"""`eventmill check`: problems, topology, couplings, stored data."""

from __future__ import annotations

from pathlib import Path

import pytest

from eventmill.adapters.sqlite.store import Store
from eventmill.model.action import CALLS
from eventmill.model.commit import Commit, Letter, LetterStatus
from eventmill.model.entry import COMMANDS, DELTAS, Entry
from eventmill.testing.contract.harness import open_alone
from tests.cli.commands import PROJECT, RunningNode, eventmill


def test_the_topology_and_each_coupling() -> None:
    document = eventmill("check", "wallet:service", "--output", "json").json()
    ways = {(c["source"], c["way"], c["target"], c["what"]) for c in document["connections"]}
    assert ways == {
        ("account", "feeds", "mover", ""),
        ("account", "feeds", "collector", ""),
        ("account", "feeds", "balances", ""),
        ("account", "schedules", "account", "withdraw"),
        ("moves", "feeds", "auditor", ""),
        ("moves", "feeds", "counter", ""),
        ("mover", "publishes", "moves", ""),
        ("collector", "sends", "account", "withdraw"),
        ("counter", "calls", "statistics", "count"),
    }
    (coupling,) = document["couplings"]
    line = (
        (PROJECT / "wallet.py")
        .read_text()
        .splitlines()
        .index('    await ctx.call(Statistics.count, "all")')
    )
    assert coupling["place"] == f"wallet.py:{line + 1}"
    assert document["purity"] == round(8 / 9, 4)

    shown = eventmill("check", "wallet:service")
    assert shown.code == 0
    assert shown.out.splitlines()[-1] == "✓ no problems"
    assert "flowchart" not in shown.out
    assert "══ calls ══▶ statistics.count" in shown.out
    assert "89% pure: 1 connection waits for an answer, 8 of 9 are events." in shown.out
    chart = eventmill("check", "wallet:service", "--mermaid").out
    assert chart.startswith("flowchart LR\n")
    assert 'n_counter ==>|"calls count"| n_statistics' in chart


def test_every_problem_at_once(tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text(
        "from eventmill import *\n"
        "class Made(Event):\n    n: int\n"
        "class Other(Event):\n    n: int\n"
        "topic = Topic('made', Made)\n"
        "@consumer('one', source=topic)\n"
        "def one(event: Other) -> None: ...\n"
        "@consumer('two', source=Topic('absent', Made))\n"
        "def two(event: Made) -> None: ...\n"
        "@component('numbers')\n"
        "class Numbers(View):\n"
        "    class Row(Record):\n        n: int = 0\n"
        "    @on(topic)\n"
        "    def made(self, event: Made, row: Row | None) -> Row: return self.Row(n=event.n)\n"
        "    @query('SELECT * FROM numbers WHERE m = 1')\n"
        "    def wrong(self) -> list[Row]: ...\n"
        "service = Service('bad', components=[one, two, Numbers], topics=[topic])\n"
    )
    refused = eventmill("check", "bad:service", cwd=tmp_path)
    assert refused.code == 1
    for problem in ("has no events of type Other", "its source 'absent' is not part", "'m'"):
        assert problem in refused.out, refused
    assert refused.out.count("✗") == 3
    assert refused.out.splitlines()[-1] == "3 problems"
    drawn = eventmill("check", "bad:service", "--mermaid", cwd=tmp_path)
    assert (drawn.code, drawn.err.count("✗")) == (1, 3)
    started = eventmill("run", "bad", "--data", tmp_path / "d", "--port", "0", cwd=tmp_path)
    assert "service 'bad' has 3 problems" in started.err


def test_data_that_this_code_can_still_read(stored: Path) -> None:
    checked = eventmill("check", "wallet:service", "--data", stored, "--output", "json").json()
    kinds = {(row["source"], row["type"]): row for row in checked["stored"]["types"]}
    assert kinds["account", "Deposited"]["count"] == 2
    assert kinds["statistics", "$state"]["problem"] == ""
    assert checked["stored"]["undeliverable"] == checked["stored"]["leftovers"] == []
    shown = eventmill("check", "wallet", "--data", stored)
    assert shown.out.endswith("no problems, everything stored can be read by this code\n")


def test_data_that_changed_code_cannot_read(stored: Path, tmp_path: Path) -> None:
    text = (PROJECT / "wallet.py").read_text()
    for old, new, message in [
        (
            "class Moved(Event)",
            '@event_type("Shifted")\nclass Moved(Event)',
            "does not know the type",
        ),
        (
            "class Withdrawn(Event):\n    amount: int",
            "class Withdrawn(Event):\n    amount: str",
            "position ",
        ),
        ('@component("account")', '@component("konto")', "no entity component 'account'"),
        (
            '@component("account")',
            '@component("konto")',
            "no component 'account' is part of the service: nobody can read them any more",
        ),
        ("    def withdraw(self", "    def take(self", "no command 'withdraw' any more"),
        (
            "    def withdraw(self, amount: int)",
            "    def withdraw(self, amount: str)",
            "timer 'remind-a' does not fit",
        ),
    ]:
        assert old in text
        changed = (
            text.replace(old, new)
            .replace("    consumer,\n", "    consumer,\n    event_type,\n", 1)
            .replace("Account.withdraw", "Account." + ("take" if "take" in new else "withdraw"))
        )
        (tmp_path / "changed.py").write_text(changed)
        # Bytecode could be that of the change before: it knows files by size and second.
        fresh = {"PYTHONDONTWRITEBYTECODE": "1"}
        refused = eventmill("check", "changed:service", "--data", stored, cwd=tmp_path, env=fresh)
        assert refused.code == 1, refused
        assert message in refused.out, refused
        assert "problem" in refused.out.splitlines()[-1]


def test_what_a_consumer_that_is_gone_has_left(stored: Path, tmp_path: Path) -> None:
    text = (PROJECT / "wallet.py").read_text()
    assert '@consumer("auditor"' in text
    (tmp_path / "renamed.py").write_text(text.replace('@consumer("auditor"', '@consumer("critic"'))
    checked = eventmill("check", "renamed", "--data", stored, "--output", "json", cwd=tmp_path)
    assert checked.code == 0, checked
    (leftover,) = checked.json()["stored"]["leftovers"]
    assert "consumer 'auditor' is not part of the service" in leftover
    assert leftover in eventmill("check", "renamed", "--data", stored, cwd=tmp_path).out


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory of the wallet, with a timer that waits."""
    data = tmp_path_factory.mktemp("checked") / "data"
    with RunningNode(data) as node:
        for command in (["deposit", "amount=5"], ["withdraw", "amount=2"], ["remind"]):
            node.json("entities", "call", "account", "a", *command)
        node.json("entities", "call", "account", "b", "deposit", "amount=5")
        node.settled()
        assert node.stop() == 0
    return data


def test_messages_from_outside_that_nobody_can_read_are_warnings(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with RunningNode(data) as node:
        node.json("entities", "call", "account", "a", "deposit", "amount=5")
        for kind, body in [
            ("Bogus", {}),
            ("Moved", {"account": 5, "amount": 1}),
            ("Moved", {"account": "b", "amount": 1}),
        ]:
            node.post_event("moves", kind, body)
        node.settled()
        for name in ("auditor", "counter"):
            assert node.run("dead-letters", "discard", name, "--all", "--yes").code == 0
        assert node.stop() == 0
    checked = eventmill("check", "wallet", "--data", data, "--output", "json")
    kinds = {(r["type"], r["is_outside"]): r for r in checked.json()["stored"]["types"]}
    assert kinds["Moved", False]["count"] == 1
    assert kinds["Moved", False]["problem"] == ""
    assert kinds["Moved", True]["unreadable"] == 1
    shown = eventmill("check", "wallet", "--data", data)
    assert shown.code == 0, shown
    assert "1 of 1 message from outside cannot be read: topic 'moves' has no such type" in shown.out
    assert "1 of 2 messages from outside cannot be read: position " in shown.out
    assert "any more" not in shown.out

    # What a handler published stays the code's own matter.
    text = (PROJECT / "wallet.py").read_text()
    changed = text.replace(
        "class Moved(Event):\n    account: str", "class Moved(Event):\n    account: int"
    )
    (tmp_path / "changed.py").write_text(changed)
    refused = eventmill("check", "changed", "--data", data, cwd=tmp_path)
    assert refused.code == 1, refused
    assert "✗ moves Moved v1, 1 entry: position " in refused.out


ARCADE = """
from eventmill import *

class Scored(Event):
    points: int

scores = Topic("scores", Scored)

@component("player")
class Player(ReplicatedEntity):
    points: PNCounter
    name: LWWRegister[str] = LWWRegister("nobody")

    @command
    def rename(self, name: str) -> Effect[None]:
        return self.update(self.name.set(name))

@component("game")
class Game(KeyValueEntity):
    rounds: int = 0

    @command
    def play(self, rounds: int) -> Effect[None]:
        return self.update(rounds=rounds)

@timed("remind")
def remind(ctx: Context, text: str) -> None: ...

@consumer("watch", source=scores)
def watch(event: Scored) -> None: ...

service = Service("arcade", components=[Player, Game, remind, watch], topics=[scores])
"""


def parked(subscription: str, position: int, status: LetterStatus, entry: Entry) -> Letter:
    entry.position = position
    return Letter(subscription, f"{entry.source}/{entry.subject}", entry, status)


async def hold_back(data: Path) -> None:
    """Leave a change that is in no stored state, as a node that is killed does, and letters."""
    store = Store(data)
    await open_alone(store)
    journal = (await store.journal.read(0, 0, limit=99)).entries
    payload = next(entry.payload for entry in journal if entry.source == DELTAS)
    delta = Entry(DELTAS, "p", 0, "player", 1, 1, payload)
    command = Entry(COMMANDS, "game/g", 0, "play", 1, 1, b'{"rounds":1}')
    call = Entry(f"{CALLS}remind", "r", 0, "remind", 1, 1, b'{"text":"x"}')
    scored = Entry("scores", "k", 0, "Scored", 1, 1, b'{"points":1}')
    letters = [
        parked("$courier", 1, LetterStatus.RETRYING, command),
        parked("remind", 1, LetterStatus.DEAD, call),
        parked("watch", 1, LetterStatus.DEAD, scored),
    ]
    await store.commit(Commit(entries=[delta], letters=letters))
    await store.close()


async def test_changes_that_wait_and_letters(tmp_path: Path) -> None:
    code, data = tmp_path / "arcade.py", tmp_path / "data"
    code.write_text(ARCADE)
    with RunningNode(data, target="arcade", cwd=tmp_path) as node:
        node.json("entities", "call", "player", "p", "rename", "name=ann")
        node.settled()
        assert node.stop() == 0
    await hold_back(data)
    sound = eventmill("check", "arcade", "--data", data, cwd=tmp_path)
    assert sound.out.endswith("no problems, everything stored can be read by this code\n"), sound
    for old, new, verdict, told in [
        ('[str] = LWWRegister("nobody")', "[int] = LWWRegister(0)", 1, "✗ 1 change waiting to be "),
        ('@component("player")', '@component("gambler")', 1, "no replicated entity 'player'"),
        (
            "rounds: int) ->",
            "rounds: str) ->",
            1,
            "✗ 1 letter of $courier soon to be tried again: ",
        ),
        (
            "text: str",
            "text: int",
            0,
            "! 1 letter of remind cannot be redriven: $action/remind does",
        ),
        (
            "    points: int",
            "    points: str",
            0,
            "! 1 letter of watch cannot be redriven: scores ",
        ),
    ]:
        assert old in ARCADE
        code.write_text(ARCADE.replace(old, new))
        fresh = {"PYTHONDONTWRITEBYTECODE": "1"}
        checked = eventmill("check", "arcade", "--data", data, cwd=tmp_path, env=fresh)
        assert (checked.code, told in checked.out) == (verdict, True), checked
