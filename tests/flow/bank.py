"""The small service that most flows run: accounts, a ledger topic, profiles."""

from __future__ import annotations

from datetime import timedelta

from eventmill import (
    Effect,
    Event,
    EventSourcedEntity,
    KeyValueEntity,
    Rejected,
    Topic,
    command,
    component,
    on,
    query,
)


class Deposited(Event):
    amount: int


class Withdrawn(Event):
    amount: int


class Closed(Event):
    reason: str


class Booked(Event):
    account: str
    amount: int


class Noted(Event):
    text: str


ledger = Topic("ledger", Booked, Noted, key=lambda event: getattr(event, "account", "notes"))


@component("account")
class Account(EventSourcedEntity):
    snapshot_every = 5
    retention = timedelta(days=2)

    balance: int = 0
    closed: bool = False

    @command
    def deposit(self, amount: int) -> Effect[int]:
        return self.persist(Deposited(amount=amount)).reply(lambda account: account.balance)

    @command
    def withdraw(self, amount: int) -> Effect[int]:
        if amount > self.balance:
            raise Rejected(
                "not enough money", code="account.short", details={"missing": amount - self.balance}
            )
        return self.persist(Withdrawn(amount=amount)).reply(lambda account: account.balance)

    @command
    def move(self, amounts: list[int]) -> Effect[int]:
        events = [Deposited(amount=a) if a > 0 else Withdrawn(amount=-a) for a in amounts]
        return self.persist(*events).reply(lambda account: account.balance)

    @command
    def book(self, amount: int) -> Effect[None]:
        return (
            self.persist(Deposited(amount=amount))
            .publish(ledger, Booked(account=self.entity_id, amount=amount))
            .with_metadata(teller="ann")
        )

    @command
    def pay(self, to: str, amount: int) -> Effect[None]:
        return self.persist(Withdrawn(amount=amount)).send(Account.deposit, to, amount)

    @command
    def close(self, reason: str) -> Effect[None]:
        return self.delete(Closed(reason=reason))

    @command
    def lend(self, amount: int, days: float) -> Effect[None]:
        return self.persist(Deposited(amount=amount)).expiring(timedelta(days=days))

    @command
    def refuse(self, how: str) -> Effect[None]:
        if how == "object":
            raise Rejected("no", details={"what": object()})
        raise Rejected("no \udcff", code="account.\udcff")

    @command
    def crash(self) -> Effect[None]:
        raise RuntimeError("a defect")

    @query
    def content(self) -> int:
        return self.balance

    @query
    def who(self) -> tuple[str, int]:
        return self.entity_id, self.sequence

    @on(Deposited)
    def deposited(self, event: Deposited) -> None:
        self.balance += event.amount

    @on(Withdrawn)
    def withdrawn(self, event: Withdrawn) -> None:
        self.balance -= event.amount

    @on(Closed)
    def was_closed(self, event: Closed) -> None:
        self.closed = True


@component("profile")
class Profile(KeyValueEntity):
    name: str = ""
    tags: list[str] = []

    @command
    def rename(self, name: str) -> Effect[int]:
        return self.update(name=name).reply(lambda profile: profile.revision)

    @command
    def tag(self, tag: str) -> Effect[list[str]]:
        return self.update(tags=[*self.tags, tag]).reply(lambda profile: profile.tags)

    @command
    def misspell(self) -> Effect[None]:
        return self.update(nmae="x")

    @command
    def number(self) -> Effect[None]:
        return self.update(name=7)

    @command
    def remove(self) -> Effect[None]:
        return self.delete()

    @query
    def show(self) -> tuple[str, list[str], int]:
        return self.name, self.tags, self.revision
