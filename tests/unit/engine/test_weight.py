"""How much of a commit the effects of an entry take."""

from __future__ import annotations

from datetime import timedelta

from eventmill import schedule, send
from eventmill.engine.outgoing import Author, expand
from eventmill.model import limits
from examples.shopping_cart.shop import Cart, service


def test_payloads_and_metadata_of_entries_and_timers_count() -> None:
    service.define()  # so that handlers know how arguments are written
    large = "x" * 10_000
    later = schedule("t", timedelta(hours=1), Cart.add_item, "c1", sku=large, quantity=1)
    effects = [*send(Cart.add_item, "c1", sku=large, quantity=1).outgoing, *later.outgoing]
    expansion = expand(effects, 0, b"y" * 5_000, Author("here"))
    assert 30_000 < expansion.weight < 30_200


def test_as_many_small_ones_as_a_commit_takes_fill_it() -> None:
    service.define()
    small = send(Cart.add_item, "c1", sku="x", quantity=1)
    expansion = expand(small.outgoing, 0, None, Author("here"))
    assert expansion.weight * limits.COMMIT_ENTRIES_MAX == limits.COMMIT_BYTES_MAX
