"""Wallets, and transfers between them: a workflow whose steps are undone when a later one fails.

    eventmill run examples.wallet_transfer.service:service

A transfer takes the money out of one wallet, puts it into another, and settles. If the other wallet takes
nothing, the money goes back. A wallet remembers what a transfer took until it is settled or refunded, so
that a refund gives back what was taken and nothing else.
"""

from __future__ import annotations

from typing import Literal

from eventmill import (
    Context,
    Effect,
    Event,
    EventSourcedEntity,
    Record,
    Rejected,
    Retry,
    Service,
    StepContext,
    View,
    Workflow,
    command,
    component,
    on,
    query,
    step,
)


class Deposited(Event):
    """Money came from outside, or by a transfer."""

    amount: int
    transfer: str = ""


class Withdrawn(Event):
    """A transfer took money."""

    amount: int
    transfer: str


class Refunded(Event):
    """A transfer gave it back."""

    amount: int
    transfer: str


class Settled(Event):
    """A transfer has arrived."""

    transfer: str


class Blocked(Event):
    """The wallet takes no more money."""


@component("wallet")
class Wallet(EventSourcedEntity):
    """Somebody's money."""

    balance: int = 0
    taken: dict[str, int] = {}
    """By transfers that are under way."""
    blocked: bool = False

    @command
    def deposit(self, amount: int, transfer: str = "") -> Effect[int]:
        if amount <= 0:
            raise Rejected("an amount is above 0", code="wallet.amount")
        if self.blocked:
            raise Rejected("the wallet is blocked", code="wallet.blocked")
        return self.persist(Deposited(amount=amount, transfer=transfer)).reply(lambda w: w.balance)

    @command
    def withdraw(self, amount: int, transfer: str) -> Effect[int]:
        if amount > self.balance:
            raise Rejected(
                f"there is {self.balance}, not {amount}",
                code="wallet.short",
                details={"missing": amount - self.balance},
            )
        return self.persist(Withdrawn(amount=amount, transfer=transfer)).reply(lambda w: w.balance)

    @command
    def refund(self, transfer: str) -> Effect[None]:
        if transfer not in self.taken:
            return self.reply(None)  # it never got so far
        return self.persist(Refunded(amount=self.taken[transfer], transfer=transfer))

    @command
    def settle(self, transfer: str) -> Effect[None]:
        if transfer not in self.taken:
            return self.reply(None)
        return self.persist(Settled(transfer=transfer))

    @command
    def block(self) -> Effect[None]:
        return self.persist(Blocked())

    @query
    def content(self) -> tuple[int, int]:
        """Its money, and what transfers have taken that are under way."""
        return self.balance, sum(self.taken.values())

    @on(Deposited)
    def deposited(self, event: Deposited) -> None:
        self.balance += event.amount

    @on(Withdrawn)
    def withdrawn(self, event: Withdrawn) -> None:
        self.balance -= event.amount
        self.taken[event.transfer] = event.amount

    @on(Refunded)
    def refunded(self, event: Refunded) -> None:
        self.balance += self.taken.pop(event.transfer)

    @on(Settled)
    def settled(self, event: Settled) -> None:
        del self.taken[event.transfer]

    @on(Blocked)
    def was_blocked(self, event: Blocked) -> None:
        self.blocked = True


Outcome = Literal["under way", "done", "refused", "refunded"]


@component("transfer")
class Transfer(Workflow):
    """One transfer, by its id."""

    source: str = ""
    target: str = ""
    amount: int = 0
    outcome: Outcome = "under way"

    @command
    def start(self, source: str, target: str, amount: int) -> Effect[str]:
        """Start it. The same id again is the same transfer."""
        if amount <= 0 or source == target:
            raise Rejected("move an amount above 0 between two wallets", code="transfer.invalid")
        effect = self.update(source=source, target=target, amount=amount)
        return effect.begin(Transfer.withdraw).reply(lambda transfer: transfer.outcome)

    @query
    def content(self) -> tuple[str, Outcome]:
        return self.status, self.outcome

    @step(failover="refuse", compensate="refund")
    async def withdraw(self, ctx: StepContext) -> Effect[None]:
        await ctx.call(Wallet.withdraw, self.source, self.amount, self.entity_id)
        return self.go(Transfer.deposit)

    @step(failover="give_back", retry=Retry(attempts=20))
    async def deposit(self, ctx: StepContext) -> Effect[None]:
        await ctx.call(Wallet.deposit, self.target, self.amount, self.entity_id)
        return self.update(outcome="done").go(Transfer.settle)

    @step
    async def settle(self, ctx: StepContext) -> Effect[None]:
        await ctx.call(Wallet.settle, self.source, self.entity_id)
        return self.end()

    @step
    async def refuse(self) -> Effect[None]:
        """The wallet has not so much."""
        return self.update(outcome="refused").compensate()

    @step
    async def give_back(self) -> Effect[None]:
        """The other wallet takes nothing."""
        return self.update(outcome="refunded").compensate()

    @step
    async def refund(self, ctx: StepContext) -> None:
        await ctx.call(Wallet.refund, self.source, self.entity_id)


class Total(Record):
    """Transfers of one outcome."""

    outcome: str
    transfers: int
    amount: int


@component("transfers")
class Transfers(View):
    """All transfers, as their states tell."""

    class Row(Record):
        """A transfer."""

        id: str
        source: str
        target: str
        amount: int
        outcome: str

    @on(Transfer)
    def changed(self, state: Transfer, row: Row | None, ctx: Context) -> Row:
        """Follow the workflow."""
        return self.Row(
            id=ctx.subject,
            source=state.source,
            target=state.target,
            amount=state.amount,
            outcome=state.outcome,
        )

    @query("SELECT * FROM transfers WHERE source = :wallet OR target = :wallet ORDER BY id")
    def of_wallet(self, wallet: str) -> list[Row]: ...

    @query(
        "SELECT outcome, count(*) AS transfers, sum(amount) AS amount FROM transfers "
        "GROUP BY outcome ORDER BY outcome"
    )
    def totals(self) -> list[Total]: ...


service = Service("wallets", components=[Wallet, Transfer, Transfers])
