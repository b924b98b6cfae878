"""What workflows, actions, replicated entities and transforms keep is in the contract as well."""

from __future__ import annotations

import pytest

from eventmill.engine.schemas.contract import read, write
from tests.unit.engine.schemas.releases import Make, Release, only

WALLET = """
from datetime import timedelta
from eventmill import *
from eventmill.pipelines import Stream, Tumbling, count, fold, max_of

class Address(Record):
    street: str

class Paid(Event):
    cents: int

class Total(Event):
    number: int

payments = Topic("payments", Paid, key="cents")
totals = Topic("totals", Total)

@component("transfer")
class Transfer(Workflow):
    amount: int = 0

    @command
    def start(self, amount: int) -> Effect[None]:
        return self.begin(Transfer.withdraw, amount)

    @step(compensate="give_back")
    async def withdraw(self, amount: int) -> Effect[None]:
        return self.go(Transfer.notify)

    @step
    async def give_back(self, amount: int) -> Effect[None]:
        return self.update()

    @step
    async def notify(self, to: list[Address] = []) -> Effect[None]:
        return self.end()

@timed("remind")
def remind(ctx: Context, text: str, times: int = 1) -> None: ...

@scheduled(timedelta(hours=1), id="clean-up")
def clean_up(ctx: Context) -> None: ...

@component("player")
class Player(ReplicatedEntity):
    points: PNCounter
    badges: ORSet[str]
    homes: RegisterMap[str, Address]
    scores: ORMap[int, CounterMap[str]]

    @command
    def score(self, points: int) -> Effect[None]:
        return self.update(self.points.increment(points))

hourly = (
    Stream(payments)
    .window(Tumbling(timedelta(hours=1)))
    .aggregate(count(), max_of("cents"))
    .map(lambda pane: Total(number=pane.value[0]))
    .to(totals, id="hourly")
)

service = Service("wallet", components=[Transfer, remind, clean_up, Player, hourly],
                  topics=[payments, totals])
"""


@pytest.fixture
def release(monkeypatch: pytest.MonkeyPatch) -> Make:
    return lambda *edits: Release(monkeypatch, WALLET, *edits)


def test_all_that_is_stored_is_in_the_contract_and_read_back_by_newer_code(release: Make) -> None:
    contract = release().contract
    schemas = {
        name: kept.compatibility.value
        for name, kept in contract.schemas.items()
        if not name.endswith("/reply") and not name.startswith("events/")
    }
    assert schemas == dict.fromkeys(
        [
            "states/transfer",
            "commands/transfer/start/arguments",
            "steps/transfer/withdraw",
            "steps/transfer/give_back",
            "steps/transfer/notify",
            "actions/remind/arguments",
            "states/player",
            "commands/player/score/arguments",
            "windows/hourly",
        ],
        "backward",
    )
    assert read(write(contract)) == contract
    assert release().after(contract) == []


@pytest.mark.parametrize(
    ("old", "new", "schema", "at", "change", "todo"),
    [
        ("async def notify(self, to", "async def notify(self, by: str, to",
         "steps/transfer/notify", "by", "added (string, needed)", "planned before does not have it"),
        (", to: list[Address] = []", "", "steps/transfer/notify", "to", "removed",
         "keep the parameter"),
        ("    amount: int = 0\n", "    amount: str = ''\n", "states/transfer", "amount",
         "integer → string", "another name"),
        ("async def notify", "async def tell", "steps/transfer/notify", "", "removed", "stuck"),
        ("text: str, times", "text: str, to: str, times", "actions/remind/arguments", "to",
         "added (string, needed)", "give the parameter a default"),
        ('@timed("remind")', '@timed("recall")', "actions/remind/arguments", "", "removed",
         "timers"),
        ("points: PNCounter", "points: GCounter", "states/player", "points.kind",
         '"PNCounter" → "GCounter"', "another name"),
        ("badges: ORSet[str]", "badges: ORSet[int]", "states/player", "badges.of",
         "string → integer", "another name"),
        ("ORMap[int, CounterMap[str]]", "ORMap[int, ORSet[str]]", "states/player",
         "scores.values.kind", '"CounterMap" → "ORSet"', "another name"),
        ("timedelta(hours=1)))", "timedelta(hours=2)))", "windows/hourly", "window", "seconds=7200",
         "consumers reset"),
        ('max_of("cents")', 'count()', "windows/hourly", "aggregates", "count of int",
         "consumers reset"),
    ],
)  # fmt: skip
def test_what_is_broken_and_what_to_do(
    release: Make, old: str, new: str, schema: str, at: str, change: str, todo: str
) -> None:
    file = release().contract
    edits = [(old, new)]
    if "tell" in new:
        edits.append(("Transfer.notify", "Transfer.tell"))
    found = [one for one in release(*edits).after(file) if one.broken and one.at == at]
    broken = only(found)
    assert (broken.schema, broken.broken) == (schema, ["backward"])
    assert change in broken.change
    assert todo in broken.todo


@pytest.mark.parametrize(
    ("old", "new", "schema"),
    [
        ("notify(self, to", "notify(self, by: str = '', to", "steps/transfer/notify"),
        ("times: int = 1", "times: int | None = 1", "actions/remind/arguments"),
        ("    badges:", "    likes: GSet[str]\n    badges:", "states/player"),
        ("    amount: int = 0\n", "    amount: int = 0\n    to: str = ''\n", "states/transfer"),
    ],
)
def test_what_breaks_nothing(release: Make, old: str, new: str, schema: str) -> None:
    file = release().contract
    change = only(release((old, new)).after(file))
    assert (change.schema, change.broken) == (schema, [])


def test_a_transform_may_go(release: Make) -> None:
    file = release().contract
    change = only(release(("Player, hourly]", "Player]")).after(file))
    assert (change.schema, change.change, change.broken) == ("windows/hourly", "removed", [])
