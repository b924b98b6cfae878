"""A service that calls the wallet's by its name, without knowing its classes."""

from __future__ import annotations

from eventmill import (
    Context,
    Effect,
    Event,
    EventSourcedEntity,
    Retry,
    Service,
    command,
    component,
    consumer,
    on,
)


class Wished(Event):
    account: str


@component("wish")
class Wish(EventSourcedEntity):
    @command
    def make(self, account: str) -> Effect[None]:
        return self.persist(Wished(account=account))

    @on(Wished)
    def wished(self, event: Wished) -> None: ...


@consumer("granter", source=Wish, retry=Retry(attempts=100, initial=0.1, maximum=0.5))
async def grant(event: Wished, ctx: Context) -> None:
    await ctx.service("wallet").call("account.deposit", event.account, amount=7)


service = Service("spender", components=[Wish, grant])
