"""A service made to be broken: whatever the fault, its parts must agree with each other.

One transfer persists two events at once, so a half command shows. Every transfer flows on through
a consumer, a topic, a second consumer and a sent command into a total, so an effect that is lost or
doubled anywhere on that road shows as well. `tests.faults.audit` holds it to account.
"""

from __future__ import annotations

from typing import Any

from eventmill import (
    Context,
    Effect,
    Event,
    EventSourcedEntity,
    KeyValueEntity,
    Record,
    Service,
    Topic,
    View,
    command,
    component,
    consumer,
    on,
    publish,
    query,
    send,
)

BUCKETS = 4


class Began(Event):
    op: str


class Ended(Event):
    op: str
    amount: int


class Audited(Event):
    op: str
    account: str
    amount: int


class Counted(Event):
    op: str
    amount: int


audits = Topic("audits", Audited, key="account")


@component("account")
class Account(EventSourcedEntity):
    snapshot_every = 20
    ops: list[str] = []
    balance: int = 0

    @command
    def transfer(self, op: str, amount: int) -> Effect[dict[str, Any]]:
        return self.persist(Began(op=op), Ended(op=op, amount=amount)).reply(
            lambda account: {"op": op, "ops": len(account.ops), "balance": account.balance}
        )

    @query
    def content(self) -> dict[str, Any]:
        return {"ops": self.ops, "balance": self.balance, "sequence": self.sequence}

    @on(Began)
    def began(self, event: Began) -> None:
        self.ops.append(event.op)

    @on(Ended)
    def ended(self, event: Ended) -> None:
        self.balance += event.amount


@component("note")
class Note(KeyValueEntity):
    text: str = ""

    @command
    def write(self, text: str) -> Effect[int]:
        return self.update(text=text).reply(lambda note: note.revision)

    @query
    def read(self) -> str:
        return self.text


@consumer("auditor", source=Account)
async def audit(event: Ended, ctx: Context) -> Effect[None]:
    return publish(audits, Audited(op=event.op, account=ctx.subject, amount=event.amount))


@component("total")
class Total(EventSourcedEntity):
    snapshot_every = 50
    ops: list[str] = []
    sum: int = 0

    @command
    def count(self, op: str, amount: int) -> Effect[None]:
        return self.persist(Counted(op=op, amount=amount))

    @query
    def content(self) -> dict[str, Any]:
        return {"ops": self.ops, "sum": self.sum}

    @on(Counted)
    def counted(self, event: Counted) -> None:
        self.ops.append(event.op)
        self.sum += event.amount


@consumer("collector", source=audits)
async def collect(event: Audited) -> Effect[None]:
    return send(Total.count, f"bucket-{hash_of(event.account) % BUCKETS}", event.op, event.amount)


@component("balances")
class Balances(View):
    class Row(Record):
        account: str
        transfers: int = 0
        balance: int = 0

    @on(Account)
    def changed(self, event: Ended, row: Row | None, ctx: Context) -> Row | None:
        return self.Row(
            account=ctx.subject,
            transfers=(row.transfers if row else 0) + 1,
            balance=(row.balance if row else 0) + event.amount,
        )

    @query("SELECT * FROM balances ORDER BY account")
    def all(self) -> list[Row]: ...


def hash_of(text: str) -> int:
    """A hash that is the same in every process."""
    return sum(text.encode())


service = Service(
    "ledger", components=[Account, Note, Total, Balances, audit, collect], topics=[audits]
)
