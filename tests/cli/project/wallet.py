"""A service that the tests of the command line run: every kind of part, and a consumer that fails
as long as the file `broken` lies in the data directory's parent."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

from eventmill import (
    Context,
    Effect,
    Event,
    EventSourcedEntity,
    KeyValueEntity,
    Page,
    Record,
    Rejected,
    Retry,
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


class Deposited(Event):
    amount: int


class Withdrawn(Event):
    amount: int


class Moved(Event):
    account: str
    amount: int


class Noted(Event):
    text: str


moves = Topic(
    "moves",
    Moved,
    Noted,
    key=lambda event: getattr(event, "account", ""),
    retention=timedelta(days=7),
)


@component("account")
class Account(EventSourcedEntity):
    balance: int = 0

    @command
    def deposit(self, amount: int) -> Effect[int]:
        return self.persist(Deposited(amount=amount)).reply(lambda account: account.balance)

    @command
    def withdraw(self, amount: int) -> Effect[int]:
        if amount > self.balance:
            raise Rejected("the balance is too low", code="account.low")
        return self.persist(Withdrawn(amount=amount)).reply(lambda account: account.balance)

    @command
    def remind(self) -> Effect[None]:
        later = timedelta(days=1)
        name = f"remind-{self.entity_id}"
        return self.persist().schedule(name, later, Account.withdraw, self.entity_id, amount=1)

    @command
    def rename(self, to: str) -> Effect[str]:
        return self.reply(to)

    @command
    def close(self) -> Effect[None]:
        return self.delete()

    @query
    def current(self) -> int:
        return self.balance

    @on(Deposited)
    def deposited(self, event: Deposited) -> None:
        self.balance += event.amount

    @on(Withdrawn)
    def withdrawn(self, event: Withdrawn) -> None:
        self.balance -= event.amount


@component("statistics")
class Statistics(KeyValueEntity):
    moves: int = 0

    @command
    def count(self) -> Effect[None]:
        return self.update(moves=self.moves + 1)


@consumer("mover", source=Account)
def mover(event: Deposited, ctx: Context) -> Effect[None]:
    return publish(moves, Moved(account=ctx.subject, amount=event.amount))


@consumer("auditor", source=moves, retry=Retry(attempts=1))
def auditor(event: Moved, ctx: Context) -> None:
    if event.amount == 13 and Path(os.environ.get("WALLET_BROKEN", "-")).exists():
        raise RuntimeError("thirteen cannot be audited")


@consumer("counter", source=moves)
async def counter(event: Moved, ctx: Context) -> None:
    await count_one(ctx)


async def count_one(ctx: Context) -> None:
    await ctx.call(Statistics.count, "all")


@consumer("collector", source=Account)
def collector(event: Withdrawn, ctx: Context) -> Effect[None] | None:
    """Takes the same again from the account `rich`, which may not have it."""
    if ctx.subject == "rich":
        return None
    return send(Account.withdraw, "rich", amount=event.amount)


@component("balances")
class Balances(View):
    class Row(Record):
        account: str
        balance: int = 0

    @on(Account)
    def changed(self, event: Deposited | Withdrawn, row: Row | None, ctx: Context) -> Row:
        row = row or self.Row(account=ctx.subject)
        row.balance += event.amount if isinstance(event, Deposited) else -event.amount
        return row

    @query("SELECT * FROM balances WHERE balance >= :minimum ORDER BY account")
    def at_least(self, minimum: int) -> list[Row]: ...

    @query("SELECT * FROM balances WHERE account IN (:accounts) AND balance IN (:path)")
    def some(self, accounts: list[str], path: list[int]) -> list[Row]: ...

    @query("SELECT * FROM balances WHERE account LIKE :begin ORDER BY account")
    def paged(
        self, begin: str, page_token: str | None = None, page_size: int = 10
    ) -> Page[Row]: ...


service = Service(
    "wallet",
    components=[Account, Statistics, mover, auditor, counter, collector, Balances],
    topics=[moves],
)
