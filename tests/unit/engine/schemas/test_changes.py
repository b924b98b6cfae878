"""One release of a shop after another: what changes, what it breaks, what to do, what is kept."""

from __future__ import annotations

import msgspec
import pytest

from eventmill.engine.schemas.changes import renewed
from eventmill.engine.schemas.contract import Compatibility, read, write
from eventmill.errors import InvalidPayload
from tests.unit.engine.schemas.releases import Make, Release, only

SHOP = """
from eventmill import *

class Address(Record):
    street: str

class Ordered(Event):
    sku: str
    quantity: int
    to: list[Address] = []

class Paid(Event):
    amount: int

orders = Topic("orders", Ordered, key="sku")

@component("order")
class Order(EventSourcedEntity):
    sku: str = ""

    @command
    def place(self, sku: str, quantity: int = 1) -> Effect[int]:
        return self.persist(Ordered(sku=sku, quantity=quantity)).reply(lambda order: 1)

    @query
    def content(self) -> str:
        return self.sku

    @on(Ordered)
    def ordered(self, event: Ordered) -> None:
        self.sku = event.sku

    @on(Paid)
    def paid(self, event: Paid) -> None: ...

@component("profile")
class Profile(KeyValueEntity):
    name: str = ""

    @command
    def rename(self, name: str) -> Effect[None]:
        return self.update(name=name)

@component("open-orders")
class OpenOrders(View):
    class Row(Record):
        sku: str

    @on(Order)
    def changed(self, event: Ordered, row: Row | None) -> Row:
        return self.Row(sku=event.sku)

    @query("SELECT * FROM open_orders")
    def all(self) -> list[Row]: ...

service = Service("shop", components=[Order, Profile, OpenOrders], topics=[orders])
"""


@pytest.fixture
def release(monkeypatch: pytest.MonkeyPatch) -> Make:
    return lambda *edits: Release(monkeypatch, SHOP, *edits)


def test_the_contract_of_a_service_and_what_it_promises(release: Make) -> None:
    contract = release().contract
    assert {name: kept.compatibility.value for name, kept in contract.schemas.items()} == {
        "events/order/Ordered": "backward",
        "events/order/Paid": "backward",
        "events/orders/Ordered": "backward",
        "states/order": "none",
        "states/profile": "backward",
        "rows/open-orders/open_orders": "none",
        "commands/order/place/arguments": "backward",
        "commands/order/place/reply": "forward",
        "commands/profile/rename/arguments": "backward",
        "commands/profile/rename/reply": "forward",
        "queries/order/content/arguments": "backward",
        "queries/order/content/reply": "forward",
        "queries/open-orders/all/arguments": "backward",
        "queries/open-orders/all/reply": "forward",
    }
    assert read(write(contract)) == contract
    assert write(contract) == write(release().contract)


def test_what_stays_the_same_changes_nothing(release: Make) -> None:
    file = release().contract
    docs = ("class Paid(Event):\n", 'class Paid(Event):\n    """Money came."""\n\n')
    order = ("    sku: str\n    quantity: int\n", "    quantity: int\n    sku: str\n")
    name = ("Address", "Place")
    again = release(docs, order, name)
    assert again.after(file) == []
    different = write(renewed(file, again.contract)).decode().replace("Place", "Address")
    assert different == write(file).decode()


def test_a_needed_field_of_an_event(release: Make) -> None:
    file = release().contract
    change = only(
        release(("    amount: int\n", "    amount: int\n    currency: str\n")).after(file)
    )
    assert change.schema == "events/order/Paid"
    assert (change.at, change.change) == ("currency", "added (string, needed)")
    assert change.broken == change.breaks == ["backward"]
    assert "give it a default" in change.todo
    assert "@event_type('Paid', version=2)" in change.todo
    assert "@upcast(…, from_version=1)" in change.todo


def test_a_field_with_a_default_breaks_nothing_and_renews_the_file(release: Make) -> None:
    file = release().contract
    new = release(("    amount: int\n", '    amount: int\n    currency: str = "EUR"\n'))
    change = only(new.after(file))
    assert change.change == 'added (string, default "EUR")'
    assert change.breaks == []
    assert renewed(file, new.contract) != file


def test_a_change_deep_inside_is_told_where_it_is(release: Make) -> None:
    file = release().contract
    found = release(("    street: str\n", "    street: int\n")).after(file)
    assert {(change.schema, change.at, change.change) for change in found} == {
        ("events/order/Ordered", "to[].street", "string → integer"),
        ("events/orders/Ordered", "to[].street", "string → integer"),
    }
    assert all(change.broken for change in found)


def raised(lift: str) -> list[tuple[str, str]]:
    """The edits that make version 2 of `Paid`, which has cents."""
    upcast = f"@upcast(Paid, from_version=1)\ndef lift(data): return {lift}\n\n"
    return [
        ("class Paid(Event):\n    amount: int\n",
         '@event_type("Paid", version=2)\nclass Paid(Event):\n    cents: int\n'),
        ("orders = Topic", f"{upcast}orders = Topic"),
    ]  # fmt: skip


def test_an_upcast_that_makes_something_else_is_found(release: Make) -> None:
    file = release().contract
    found = release(*raised('{"money": data["amount"]}')).after(file)
    broken = only([change for change in found if change.broken])
    assert "missing required field `cents`" in broken.change
    found = release(*raised('{"cents": data["amuont"]}')).after(file)
    assert "KeyError: 'amuont'" in only([change for change in found if change.broken]).change


def test_a_raised_version_is_kept_and_checked_for_ever(release: Make) -> None:
    file = release().contract
    new = release(*raised('{"cents": data["amount"] * 100}'))
    found = new.after(file)
    assert not [change for change in found if change.broken]
    assert [change.change for change in found if change.breaks] == ["version 1 → 2"]
    assert "@downcast" in found[0].todo
    file = renewed(file, new.contract)
    assert file.schemas["events/order/Paid"].former.keys() == {"1"}
    assert new.after(file) == []

    third = [
        ('"Paid", version=2)\nclass Paid(Event):\n    cents: int\n',
         '"Paid", version=3)\nclass Paid(Event):\n    cents: int\n    by: str\n'),
        ("orders = Topic",
         '@upcast(Paid, from_version=2)\ndef by(data): return {"cents": data["cents"], "by": ""}\n\n'
         "orders = Topic"),
    ]  # fmt: skip
    right = release(*raised('{"cents": data["amount"]}'), *third)
    assert not [change for change in right.after(file) if change.broken]
    assert renewed(file, right.contract).schemas["events/order/Paid"].former.keys() == {"1", "2"}
    wrong = release(*raised("data"), *third)
    broken = [change.change for change in wrong.after(file) if change.broken]
    assert len(broken) == 1
    assert broken[0].startswith("version 1 is stored: ")


def test_a_downcast_keeps_the_release_before_reading(release: Make) -> None:
    file = release().contract
    edits = raised('{"cents": data["amount"]}')
    down = '@downcast(Paid)\ndef down(data): return {"amount": data["cents"]}\n\norders = Topic'
    first = release(*edits, ("orders = Topic", down))
    assert [change.breaks for change in first.after(file)] == [[]]
    file = renewed(file, first.contract)
    assert file.schemas["events/order/Paid"].written == 1
    second = release(*edits)
    change = only(second.after(file))
    assert (change.change, change.breaks) == ("version 2 is written, 1 before", [])


def test_a_name_that_was_another_field_once(release: Make) -> None:
    file = release().contract
    without = release(("    quantity: int\n", ""), ("quantity=quantity", "to=[]"))
    assert not [change for change in without.after(file) if change.broken]
    file = renewed(file, without.contract)
    assert file.schemas["events/order/Ordered"].dropped == ["quantity"]
    back = release(
        ("    quantity: int\n", '    quantity: str = ""\n'), ("quantity=quantity", "to=[]")
    )
    broken = [change for change in back.after(file) if change.broken]
    assert {change.schema for change in broken} == {"events/order/Ordered", "events/orders/Ordered"}
    assert "was another field once" in broken[0].change


def test_dropped_names_outlive_a_raised_version(release: Make) -> None:
    file = release().contract
    kept = msgspec.structs.replace(file.schemas["events/order/Paid"], dropped=["by"])
    file.schemas["events/order/Paid"] = kept
    new = release(*raised('{"cents": data["amount"]}'))
    assert renewed(file, new.contract).schemas["events/order/Paid"].dropped == ["by"]


def test_renamed_removed_and_new_events(release: Make) -> None:
    file = release().contract
    alone = release(("class Paid(Event)", '@event_type("paid")\nclass Paid(Event)'))
    gone = only([change for change in alone.after(file) if change.broken])
    assert (gone.schema, gone.change) == ("events/order/Paid", "removed")
    assert "aliases=" in gone.todo

    named = ("class Paid(Event)", '@event_type("paid", aliases=("Paid",))\nclass Paid(Event)')
    renamed = release(named)
    change = only(renamed.after(file))
    assert (change.change, change.broken) == ("called Paid before", [])
    file = renewed(file, renamed.contract)
    assert renamed.after(file) == []
    lost = only(
        release(("class Paid(Event)", '@event_type("paid")\nclass Paid(Event)')).after(file)
    )
    assert (lost.change, lost.broken) == ("alias Paid is gone", ["backward"])


@pytest.mark.parametrize(
    ("old", "new", "schema", "at", "todo"),
    [
        ("quantity: int = 1)", "quantity: int)", "commands/order/place/arguments", "quantity",
         "give the parameter a default"),
        ("place(self, sku: str, quantity: int = 1)", "place(self, sku: str)",
         "commands/order/place/arguments", "quantity", "keep the parameter"),
        ("place(self, sku: str,", "place(self, sku: int,", "commands/order/place/arguments", "sku",
         "another name"),
        ("-> Effect[int]", "-> Effect[str]", "commands/order/place/reply", "", "callers of the"),
        ("class Row(Record):\n        sku: str", "class Row(Record):\n        sku: str = ''",
         "queries/open-orders/all/reply", "[].sku", "keep what they expect"),
        ('    name: str = ""\n', "    name: int = 0\n", "states/profile", "name", "another name"),
        ("def rename", "def call", "commands/profile/rename/arguments", "", "keep it as long"),
    ],
)  # fmt: skip
def test_what_is_broken_and_what_to_do(
    release: Make, old: str, new: str, schema: str, at: str, todo: str
) -> None:
    file = release().contract
    edits = [(old, new)]
    if "place(self, sku: str)" in new:
        edits.append(("quantity=quantity", "quantity=1"))
    change = only([change for change in release(*edits).after(file) if change.broken])
    assert (change.schema, change.at) == (schema, at)
    assert todo in change.todo


def test_the_file_says_what_is_promised(release: Make) -> None:
    file = release().contract
    kept = file.schemas["events/order/Paid"]
    edit = ("    amount: int\n", "    amount: str\n")
    for promise, broken in [
        (Compatibility.FULL, ["backward", "forward"]),
        (Compatibility.FORWARD, ["forward"]),
        (Compatibility.NONE, []),
    ]:
        file.schemas["events/order/Paid"] = msgspec.structs.replace(kept, compatibility=promise)
        new = release(edit)
        change = only(new.after(file))
        assert change.broken == broken
        assert renewed(file, new.contract).schemas["events/order/Paid"].compatibility is promise


def test_rows_and_folded_states_promise_nothing(release: Make) -> None:
    file = release().contract
    found = release(('    sku: str = ""\n', "    sku: str = ''\n    open: bool = True\n")).after(
        file
    )
    assert only(found).schema == "states/order"
    assert only(found).broken == []


@pytest.mark.parametrize("text", [b"", b"[]", b'{"service": "s", "schemas": {}, "x": 1}'])
def test_what_is_no_file_of_schemas(text: bytes) -> None:
    with pytest.raises(InvalidPayload, match="no file of schemas"):
        read(text)


def test_a_file_of_a_newer_format() -> None:
    with pytest.raises(InvalidPayload, match="format 2"):
        read(b'{"service": "s", "schemas": {}, "format": 2}')
