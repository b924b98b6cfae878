"""Transfers, tested as their users would: a step alone, the whole on its clock, the service.

That no kill makes or loses money is shown by `tests/faults/test_transfer_kills.py`."""

from __future__ import annotations

from eventmill import Rejected
from eventmill.testing import EntityKit, Host, WorkflowKit
from examples.wallet_transfer.service import Total, Transfer, Transfers, Wallet, service


async def test_a_step_alone() -> None:
    kit = WorkflowKit(Transfer, "t1").given(source="ann", amount=30).answer(Wallet.withdraw, 70)
    outcome = await kit.step(Transfer.withdraw)
    assert outcome.next_step == "deposit"
    assert outcome.calls[0].idempotency_key == "transfer/t1/1:1"


async def test_money_goes_back_when_the_other_wallet_takes_none() -> None:
    kit = WorkflowKit(Transfer, "t1").answer(Wallet.withdraw, 70).answer(Wallet.refund, None)
    kit.answer(Wallet.deposit, Rejected("blocked", code="wallet.blocked"))
    kit.run(Transfer.start, "ann", "bob", 30)
    await kit.go_on()
    assert (kit.status, kit.state.outcome) == ("compensated", "refunded")
    called = [call.handler for call in kit.calls]
    assert called == [Wallet.withdraw, Wallet.deposit, Wallet.refund]


def test_a_refund_gives_back_what_was_taken_and_nothing_else() -> None:
    wallet = EntityKit(Wallet, "ann")
    wallet.run(Wallet.deposit, 100)
    wallet.run(Wallet.refund, "t1")
    assert wallet.run(Wallet.content).reply == (100, 0)
    wallet.run(Wallet.withdraw, 30, "t1")
    assert wallet.run(Wallet.content).reply == (70, 30)
    wallet.run(Wallet.refund, "t1")
    wallet.run(Wallet.refund, "t1")
    assert wallet.run(Wallet.content).reply == (100, 0)


async def test_transfers_in_all_their_outcomes() -> None:
    async with Host(service) as host:
        await host.call(Wallet.deposit, "ann", 100)
        await host.call(Wallet.block, "eve")
        for id, target, amount in (("t1", "bob", 30), ("t2", "bob", 300), ("t3", "eve", 7)):
            assert await host.call(Transfer.start, id, "ann", target, amount) == "under way"
        await host.settle()
        assert await host.call(Transfer.start, "t1", "ann", "bob", 30) == "done"
        assert await host.query(Transfers.totals) == [
            Total(outcome="done", transfers=1, amount=30),
            Total(outcome="refunded", transfers=1, amount=7),
            Total(outcome="refused", transfers=1, amount=300),
        ]
        assert await host.call(Wallet.content, "ann") == (70, 0)
        assert await host.call(Wallet.content, "bob") == (30, 0)
