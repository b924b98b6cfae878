"""Payments: money is reserved on an account, then captured for a merchant, or given back.

A reservation that is not captured in time expires: its timer is set in the commit that reserves, and
goes in the commit that captures or releases. Whichever comes first wins, because both are turns of the
same account; the other one finds nothing to do. Captured money is credited to the merchant exactly
once, and paid out every night.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from eventmill import (
    Context,
    Effect,
    Event,
    EventSourcedEntity,
    Record,
    Rejected,
    Service,
    Topic,
    View,
    command,
    component,
    consumer,
    ignore,
    on,
    publish,
    query,
    scheduled,
    send,
    stream,
    timed,
)

HOLD = timedelta(minutes=15)
"""How long a merchant may leave a reservation open."""

REMIND_BEFORE = timedelta(minutes=5)

PORTION = 1_000
"""Merchants that are paid in one step: what one effect can send is bounded."""


class Deposited(Event):
    amount: int


class Reserved(Event):
    payment: str
    merchant: str
    amount: int


class Captured(Event):
    payment: str
    merchant: str
    amount: int


class Released(Event):
    """The money is the customer's again."""

    payment: str
    merchant: str
    amount: int
    expired: bool = False


class Hold(Record):
    """Money of an account that waits for its merchant."""

    merchant: str
    amount: int


@component("account")
class Account(EventSourcedEntity):
    balance: int = 0
    """In cents, without what is reserved."""
    holds: dict[str, Hold] = {}
    """By payment."""

    @command
    def deposit(self, amount: int) -> Effect[int]:
        if amount <= 0:
            raise Rejected("deposit something", code="account.amount")
        return self.persist(Deposited(amount=amount)).reply(lambda account: account.balance)

    @command
    def reserve(self, payment: str, merchant: str, amount: int) -> Effect[int]:
        if payment in self.holds:
            raise Rejected("this payment is reserved already", code="payment.known")
        if not 0 < amount <= self.balance:
            raise Rejected("not enough money", code="account.balance")
        return (
            self.persist(Reserved(payment=payment, merchant=merchant, amount=amount))
            .schedule(expiry(payment), HOLD, Account.expire, self.entity_id, payment)
            .schedule(reminder(payment), HOLD - REMIND_BEFORE, remind, merchant, payment)
            .reply(lambda account: account.balance)
        )

    @command
    def capture(self, payment: str) -> Effect[None]:
        hold = self._hold(payment)
        captured = Captured(payment=payment, merchant=hold.merchant, amount=hold.amount)
        return self.persist(captured).cancel(expiry(payment)).cancel(reminder(payment))

    @command
    def release(self, payment: str) -> Effect[None]:
        hold = self._hold(payment)
        released = Released(payment=payment, merchant=hold.merchant, amount=hold.amount)
        return self.persist(released).cancel(expiry(payment)).cancel(reminder(payment))

    @command
    def expire(self, payment: str) -> Effect[None]:
        hold = self.holds.get(payment)
        if hold is None:
            return self.reply(None)  # captured or released at the last moment
        return self.persist(
            Released(payment=payment, merchant=hold.merchant, amount=hold.amount, expired=True)
        )

    @query
    def content(self) -> tuple[int, dict[str, Hold]]:
        return self.balance, self.holds

    @on(Deposited)
    def deposited(self, event: Deposited) -> None:
        self.balance += event.amount

    @on(Reserved)
    def reserved(self, event: Reserved) -> None:
        self.balance -= event.amount
        self.holds[event.payment] = Hold(merchant=event.merchant, amount=event.amount)

    @on(Captured)
    def captured(self, event: Captured) -> None:
        del self.holds[event.payment]

    @on(Released)
    def released(self, event: Released) -> None:
        del self.holds[event.payment]
        self.balance += event.amount

    def _hold(self, payment: str) -> Hold:
        hold = self.holds.get(payment)
        if hold is None:
            raise Rejected(
                "nothing is reserved for this payment any more", code="payment.not_reserved"
            )
        return hold


class Credited(Event):
    payment: str
    amount: int


class PaidOut(Event):
    day: str
    amount: int


@component("merchant")
class Merchant(EventSourcedEntity):
    owed: int = 0
    paid: int = 0

    @command
    def credit(self, payment: str, amount: int) -> Effect[None]:
        return self.persist(Credited(payment=payment, amount=amount))

    @command
    def pay_out(self, day: str) -> Effect[int]:
        if not self.owed:
            return self.reply(0)
        return self.persist(PaidOut(day=day, amount=self.owed)).reply(
            lambda merchant: merchant.paid
        )

    @query
    def content(self) -> tuple[int, int]:
        return self.owed, self.paid

    @on(Credited)
    def credited(self, event: Credited) -> None:
        self.owed += event.amount

    @on(PaidOut)
    def paid_out(self, event: PaidOut) -> None:
        self.owed -= event.amount
        self.paid += event.amount


class CaptureSoon(Event):
    """A merchant's reservation is about to expire."""

    merchant: str
    payment: str


notices = Topic("notices", CaptureSoon, key="merchant")


@timed("remind")
def remind(ctx: Context, merchant: str, payment: str) -> Effect[None]:
    return publish(notices, CaptureSoon(merchant=merchant, payment=payment))


@consumer("crediting", source=Account)
def credit(event: Captured, ctx: Context) -> Effect[None]:
    return send(Merchant.credit, event.merchant, payment=event.payment, amount=event.amount)


class Taken(Event):
    """What other services may know: a merchant has got money."""

    merchant: str
    amount: int


@stream("takings", source=Account, key="merchant")
def takings(event: Captured) -> Taken:
    """Tell others what merchants got; accounts and payments stay the bank's business."""
    return Taken(merchant=event.merchant, amount=event.amount)


class Total(Record):
    amount: int
    holds: int


@component("reservations")
class Reservations(View):
    """What is reserved now."""

    class Row(Record):
        account: str
        amount: int = 0
        holds: int = 0

    @on(Account)
    def changed(
        self, event: Reserved | Captured | Released, row: Row | None, ctx: Context
    ) -> Row | None:
        row = row or self.Row(account=ctx.subject)
        sign = 1 if isinstance(event, Reserved) else -1
        row.amount += sign * event.amount
        row.holds += sign
        return row if row.holds else None

    @query(
        "SELECT coalesce(sum(amount), 0) AS amount, coalesce(sum(holds), 0) AS holds "
        "FROM reservations"
    )
    def total(self) -> Total: ...


@component("merchants")
class Merchants(View):
    """Merchants to whom something is owed."""

    class Row(Record):
        merchant: str
        owed: int = 0

    @on(Merchant)
    def changed(self, event: Credited | PaidOut, row: Row | None, ctx: Context) -> Row | None:
        row = row or self.Row(merchant=ctx.subject)
        row.owed += event.amount if isinstance(event, Credited) else -event.amount
        return row if row.owed else None

    @query("SELECT merchant FROM merchants ORDER BY merchant LIMIT 1000")
    def owed(self) -> list[str]: ...


@scheduled("0 2 * * *", id="settlement", timezone="Europe/Berlin", missed="once")
async def settle(ctx: Context, tick: datetime) -> Effect[None]:
    """Pay out what is owed, once a night."""
    return await pay_out(ctx, tick.date().isoformat())


@timed("settle-more")
async def settle_more(ctx: Context, day: str) -> Effect[None]:
    """Go on where a portion ended."""
    return await pay_out(ctx, day)


async def pay_out(ctx: Context, day: str) -> Effect[None]:
    """Pay a portion of the merchants; one that is paid already is owed nothing."""
    owed = await ctx.query(Merchants.owed)
    effect = ignore()
    for merchant in owed:
        effect = effect.send(Merchant.pay_out, merchant, day=day)
    if len(owed) == PORTION:
        effect = effect.schedule("settle-more", timedelta(seconds=30), settle_more, day)
    return effect


def expiry(payment: str) -> str:
    """Name of the timer that ends a reservation."""
    return f"expire-{payment}"


def reminder(payment: str) -> str:
    """Name of the timer that reminds its merchant."""
    return f"remind-{payment}"


service = Service(
    "payments",
    components=[
        Account,
        Merchant,
        Reservations,
        Merchants,
        credit,
        takings,
        remind,
        settle,
        settle_more,
    ],
    topics=[notices],
)
