"""The next version of the service of `vault`, for rolling updates: it runs beside the one before, on
the same store.

New are a command, a field of an event, a column of the view, which is built anew, and an event that
changes in a way which the first version cannot read: this one reads the event's version 2 and still
writes version 1. `vault_later` writes version 2.
"""

from __future__ import annotations

from typing import Any

from eventmill import (
    Context,
    Effect,
    Event,
    EventSourcedEntity,
    Record,
    Service,
    View,
    command,
    component,
    consumer,
    downcast,
    event_type,
    on,
    query,
    send,
    upcast,
)
from tests.faults.vault import BY, START, Paid


@event_type("Put")
class Put(Event):
    op: str
    by: str
    kind: str = "plain"
    """The first version passes over it."""


@event_type("Received", version=2)
class Received(Event):
    op: str
    by: str
    value: int
    """Was called `amount`."""


@upcast(Received, from_version=1)
def with_value(data: dict[str, Any]) -> dict[str, Any]:
    return {"op": data["op"], "by": data["by"], "value": data["amount"]}


@downcast(Received)
def with_amount(data: dict[str, Any]) -> dict[str, Any]:
    return {"op": data["op"], "by": data["by"], "amount": data["value"]}


@component("vault")
class Vault(EventSourcedEntity):
    snapshot_every = 50
    ops: list[str] = []
    puts: int = 0
    balance: int = START

    @command
    def put(self, op: str) -> Effect[int]:
        return self.persist(Put(op=op, by=BY, kind="next")).reply(lambda vault: len(vault.ops))

    @command
    def pay(self, op: str, to: str, amount: int) -> Effect[int]:
        event = Paid(op=op, by=BY, to=to, amount=amount)
        return self.persist(event).reply(lambda vault: len(vault.ops))

    @command
    def receive(self, op: str, amount: int) -> Effect[None]:
        return self.persist(Received(op=op, by=BY, value=amount))

    @command
    def close(self, op: str) -> Effect[int]:
        """New: clients use it when no node of the first version is left."""
        return self.persist(Put(op=op, by=BY, kind="closing")).reply(lambda vault: vault.puts)

    @query
    def content(self) -> dict[str, Any]:
        return {"ops": self.ops, "balance": self.balance}

    @on(Put)
    def was_put(self, event: Put) -> None:
        self.ops.append(event.op)
        self.puts += event.kind == "next"

    @on(Paid)
    def was_paid(self, event: Paid) -> None:
        self.ops.append(event.op)
        self.balance -= event.amount

    @on(Received)
    def was_received(self, event: Received) -> None:
        self.balance += event.value


@consumer("carrier", source=Vault)
def carry(event: Paid) -> Effect[None]:
    return send(Vault.receive, event.to, event.op, event.amount)


@component("holdings")
class Holdings(View):
    class Row(Record):
        vault: str
        events: int = 0
        balance: int = START
        puts: int = 0
        """By this version."""

    @on(Vault)
    def changed(self, event: Put | Paid | Received, row: Row | None, ctx: Context) -> Row | None:
        row = row or self.Row(vault=ctx.subject)
        change = puts = 0
        match event:
            case Put(kind=kind):
                puts = int(kind == "next")
            case Paid(amount=amount):
                change = -amount
            case Received(value=value):
                change = value
        return self.Row(row.vault, row.events + 1, row.balance + change, row.puts + puts)

    @query("SELECT * FROM holdings ORDER BY vault")
    def all(self) -> list[Row]: ...


service = Service("vaults", components=[Vault, Holdings, carry])
