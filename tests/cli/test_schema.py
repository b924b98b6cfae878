"""`eventmill schema`: the file of schemas, what changes it, and what a release breaks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from eventmill.testing.postgres import Server
from tests.cli.commands import PROJECT, RunningNode, eventmill

WALLET = (PROJECT / "wallet.py").read_text()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "wallet.py").write_text(WALLET)
    assert eventmill("schema", "export", "wallet", cwd=tmp_path).code == 0
    return tmp_path


def change(project: Path, old: str, new: str) -> None:
    assert old in WALLET
    (project / "wallet.py").write_text(WALLET.replace(old, new))


def test_an_export_is_as_the_code_is(project: Path) -> None:
    exported = (project / "schema.json").read_text()
    document = json.loads(exported)
    assert document["service"] == "wallet"
    assert document["schemas"]["events/moves/Moved"]["compatibility"] == "backward"
    assert exported == eventmill("schema", "export", "wallet", "--file", "-").out
    checked = eventmill("schema", "check", "wallet", cwd=project)
    assert (checked.code, checked.out) == (0, "✓ schema.json is what the code is\n")
    again = eventmill("schema", "export", "wallet", cwd=project)
    assert "schema.json is as it was: " in again.err
    shown = eventmill("schema", "diff", "wallet", cwd=project)
    assert shown.out == "Nothing has changed.\n"
    piped = eventmill("schema", "diff", "wallet", "--file", "-", stdin=exported, cwd=project)
    assert piped.out == "Nothing has changed.\n"


def test_a_change_that_breaks_nothing_makes_the_file_old(project: Path) -> None:
    change(project, "    text: str\n", '    text: str\n    language: str = "en"\n')
    shown = eventmill("schema", "diff", "wallet", cwd=project)
    assert 'added (string, default "en")' in shown.out
    checked = eventmill("schema", "check", "wallet", cwd=project)
    assert checked.code == 1
    assert "write it with `eventmill schema export` and commit it" in checked.out
    assert eventmill("schema", "export", "wallet", cwd=project).code == 0
    assert eventmill("schema", "check", "wallet", cwd=project).code == 0


def test_a_break_is_refused_with_what_to_do(project: Path) -> None:
    change(
        project,
        "class Withdrawn(Event):\n    amount: int",
        "class Withdrawn(Event):\n    amount: str",
    )
    before = (project / "schema.json").read_text()
    diff = eventmill("schema", "diff", "wallet", "--output", "json", cwd=project).json()
    broken = {(one["schema"], one["at"]): one for one in diff["changes"] if one["broken"]}
    assert broken["events/account/Withdrawn", "amount"]["breaks"] == ["backward", "forward"]
    assert diff["current"] is False
    for command in ("check", "export"):
        refused = eventmill("schema", command, "wallet", cwd=project)
        assert refused.code == 1, refused
        assert "✗ events/account/Withdrawn amount: integer → string" in refused.out
        assert "@upcast(…, from_version=1)" in refused.out
    assert (project / "schema.json").read_text() == before
    assert eventmill("schema", "export", "wallet", "--force", cwd=project).code == 0
    assert eventmill("schema", "check", "wallet", cwd=project).code == 0


def test_what_is_no_file_to_compare_with(project: Path) -> None:
    absent = eventmill("schema", "check", "wallet", "--file", "absent.json", cwd=project)
    assert (absent.code, "schema export" in absent.err) == (1, True)
    (project / "other.json").write_text('{"service": "other", "schemas": {}}')
    other = eventmill("schema", "diff", "wallet", "--file", "other.json", cwd=project)
    assert "is of service 'other'" in other.err
    (project / "bad.json").write_text("{}")
    bad = eventmill("schema", "diff", "wallet", "--file", "bad.json", cwd=project)
    assert "bad.json: it is no file of schemas" in bad.err


def test_what_is_stored_is_looked_at_as_well(project: Path) -> None:
    data = project / "data"
    with RunningNode(data, cwd=project) as node:
        node.json("entities", "call", "account", "a", "deposit", "amount=5")
        node.settled()
        assert node.stop() == 0
    sound = eventmill("schema", "check", "wallet", "--data", "data", cwd=project)
    assert sound.code == 0, sound
    assert sound.out.endswith("everything stored can be read by this code\n")
    change(project, '@component("account")', '@component("konto")')
    eventmill("schema", "export", "wallet", "--force", cwd=project)
    refused = eventmill("schema", "check", "wallet", "--data", "data", cwd=project)
    assert refused.code == 1
    assert "no component 'account' is part of the service" in refused.out


TRANSFERS = """
from datetime import timedelta
from eventmill import *
from eventmill.pipelines import Stream, Tumbling, count

class Moved(Event):
    amount: int

class Total(Event):
    moves: int

moves, totals = Topic("moves", Moved), Topic("totals", Total)

hourly = (Stream(moves).window(Tumbling(timedelta(hours=1))).aggregate(count())
          .map(lambda pane: Total(moves=pane.value)).to(totals, id="hourly"))

@component("transfer")
class Transfer(Workflow):
    amount: int = 0

    @command
    def start(self, amount: int) -> Effect[None]:
        return self.update(amount=amount).begin(Transfer.withdraw, amount)

    @step(compensate="give_back")
    async def withdraw(self, amount: int) -> Effect[None]:
        return self.go(Transfer.deposit, amount, "b")

    @step
    async def give_back(self, amount: int) -> Effect[None]:
        return self.update()

    @step(retry=Retry(initial=3_600))
    async def deposit(self, amount: int, to: str) -> Effect[None]:
        raise RuntimeError("the bank is closed")

@timed("remind")
def remind(ctx: Context, text: str) -> None: ...

@component("clerk")
class Clerk(KeyValueEntity):
    @command
    def plan(self) -> Effect[None]:
        return self.reply(None).schedule("r", timedelta(days=9), remind, "x", text="call them")

service = Service("transfers", components=[Transfer, remind, Clerk, hourly], topics=[moves, totals])
"""


def test_workflows_timers_and_windows_that_wait_in_a_store(tmp_path: Path) -> None:
    code = tmp_path / "transfers.py"
    code.write_text(TRANSFERS)
    with RunningNode(tmp_path / "data", target="transfers", cwd=tmp_path) as node:
        for id in ("t1", "t2"):
            node.json("entities", "call", "transfer", id, "start", "amount=5")
        node.json("entities", "call", "clerk", "c", "plan")
        node.run("topics", "publish", "moves", '{"amount": 5}', "--type", "Moved")
        node.settled()
        assert node.stop() == 0
    sound = eventmill("check", "transfers", "--data", "data", cwd=tmp_path)
    assert sound.code == 0, sound
    for old, new, problem in [
        ("to: str)", "to: int)", "transfer/t1: step 'deposit' does not take what was planned: "),
        ("deposit", "credit", "transfer/t1: step 'deposit' is not there any more (2 workflows "),
        ("give_back", "repay", "transfer/t1: step 'give_back' is not there any more (2 "),
        ("    amount: int = 0\n", "    amount: str = ''\n", "transfer $state v1, 2 entries: "),
        ("hours=1", "hours=2", "transform 'hourly', '' (1 key): what is open of this key was "),
        ("ctx: Context, text", "ctx: Context, to: int, text", "does not fit: remind.remind: "),
    ]:
        assert old in TRANSFERS
        code.write_text(TRANSFERS.replace(old, new))
        refused = eventmill("check", "transfers", "--data", "data", cwd=tmp_path)
        assert refused.code == 1, refused
        assert problem in refused.out


async def test_what_is_stored_in_postgresql(project: Path, postgres: Server) -> None:
    store = await postgres.fresh(4)
    with RunningNode(project / "data", "--store", store, cwd=project) as node:
        node.json("entities", "call", "account", "a", "deposit", "amount=5")
        node.settled()
        assert node.stop() == 0
    for command in (["schema", "check"], ["check"]):
        checked = eventmill(*command, "wallet", "--store", store, "--output", "json", cwd=project)
        kinds = {row["type"]: row["count"] for row in checked.json()["stored"]["types"]}
        assert kinds["Deposited"] == 1
    change(
        project,
        "class Deposited(Event):\n    amount: int",
        "class Deposited(Event):\n    amount: str",
    )
    refused = eventmill("check", "wallet", "--store", store, cwd=project)
    assert refused.code == 1
    assert "account Deposited v1, 1 entry: position " in refused.out
    both = eventmill("check", "wallet", "--store", store, "--data", "data", cwd=project)
    assert both.code == 2
