"""A service for storms over several nodes: each event says which process decided it.

A vault is a list that operations are appended to, and an amount of money; a payment leaves one
vault by a command of a client, and reaches the other by a consumer's sent command.
"""

from __future__ import annotations

import os
import secrets
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
    on,
    query,
    send,
)

START = 1_000
"""What is in a vault at first."""

BY = f"{os.getpid()}-{secrets.token_hex(4)}"
"""This process; process ids alone come back."""


class Put(Event):
    op: str
    by: str


class Paid(Event):
    op: str
    by: str
    to: str
    amount: int


class Received(Event):
    op: str
    by: str
    amount: int


@component("vault")
class Vault(EventSourcedEntity):
    snapshot_every = 50
    ops: list[str] = []
    balance: int = START

    @command
    def put(self, op: str) -> Effect[int]:
        return self.persist(Put(op=op, by=BY)).reply(lambda vault: len(vault.ops))

    @command
    def pay(self, op: str, to: str, amount: int) -> Effect[int]:
        event = Paid(op=op, by=BY, to=to, amount=amount)
        return self.persist(event).reply(lambda vault: len(vault.ops))

    @command
    def receive(self, op: str, amount: int) -> Effect[None]:
        return self.persist(Received(op=op, by=BY, amount=amount))

    @query
    def content(self) -> dict[str, Any]:
        return {"ops": self.ops, "balance": self.balance}

    @on(Put)
    def was_put(self, event: Put) -> None:
        self.ops.append(event.op)

    @on(Paid)
    def was_paid(self, event: Paid) -> None:
        self.ops.append(event.op)
        self.balance -= event.amount

    @on(Received)
    def was_received(self, event: Received) -> None:
        self.balance += event.amount


@consumer("carrier", source=Vault)
def carry(event: Paid) -> Effect[None]:
    return send(Vault.receive, event.to, event.op, event.amount)


@component("holdings")
class Holdings(View):
    class Row(Record):
        vault: str
        events: int = 0
        balance: int = START

    @on(Vault)
    def changed(self, event: Put | Paid | Received, row: Row | None, ctx: Context) -> Row | None:
        row = row or self.Row(vault=ctx.subject)
        match event:
            case Put():
                change = 0
            case Paid():
                change = -event.amount
            case Received():
                change = event.amount
        return self.Row(row.vault, row.events + 1, row.balance + change)

    @query("SELECT * FROM holdings ORDER BY vault")
    def all(self) -> list[Row]: ...


service = Service("vaults", components=[Vault, Holdings, carry])
