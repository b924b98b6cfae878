"""How much of a commit the effects of an entry take."""

from __future__ import annotations

from datetime import timedelta

from eventmill import schedule, send
from eventmill.engine.outgoing import Author, Expansion, expand
from eventmill.model import limits
from eventmill.runtime.dispatch.handled import weight_of
from eventmill.testing.contract.harness import message
from examples.shopping_cart.shop import Cart, service


def test_payloads_and_metadata_of_entries_and_timers_count() -> None:
    service.define()  # so that handlers know how arguments are written
    large = "x" * 10_000
    later = schedule("t", timedelta(hours=1), Cart.add_item, "c1", sku=large, quantity=1)
    effects = [*send(Cart.add_item, "c1", sku=large, quantity=1).outgoing, *later.outgoing]
    expansion = expand(effects, 0, b"y" * 5_000, Author("here"))
    assert 30_000 < weight_of(expansion) < 30_200


def test_as_many_small_ones_as_a_commit_takes_fill_it() -> None:
    entries = [message() for _ in range(limits.COMMIT_ENTRIES_MAX)]
    assert weight_of(Expansion(entries)) == limits.COMMIT_BYTES_MAX
    assert weight_of(Expansion(entries[1:])) < limits.COMMIT_BYTES_MAX
