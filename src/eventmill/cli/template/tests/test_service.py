"""Each part by itself, then the whole service in process."""

from eventmill.testing import ConsumerKit, EntityKit, Host

from PACKAGE_NAME.service import Item, RanLow, Received, Stock, Taken, alerts, service, watch_levels


def test_what_is_received_can_be_taken() -> None:
    item = EntityKit(Item, "tea")

    assert item.run(Item.receive, quantity=5).events == [Received(quantity=5)]

    taken = item.run(Item.take, quantity=2)
    assert taken.events == [Taken(quantity=2, left=3)]
    assert taken.reply == 3


def test_nobody_takes_more_than_there_is() -> None:
    refused = EntityKit(Item, "tea").run(Item.take, quantity=1)

    assert refused.rejected is not None
    assert refused.rejected.code == "item.not_enough"


async def test_a_low_level_raises_an_alert() -> None:
    effects = await ConsumerKit(watch_levels).run(Taken(quantity=4, left=1), subject="tea")

    assert effects.published == [(alerts, RanLow(item="tea", left=1))]


async def test_the_whole_service() -> None:
    async with Host(service) as host:
        heard = host.probe(alerts)
        await host.call(Item.receive, "tea", quantity=5)
        await host.call(Item.take, "tea", quantity=4)

        assert await heard.expect_one(RanLow) == RanLow(item="tea", left=1)
        assert await host.query(Stock.below, limit=3) == [Stock.Row(item="tea", quantity=1)]
