"""FastStream on JetStream: a pull consumer, acknowledged after the handler, which only counts.

Run by the peer's own interpreter with a JSON object: `url`, `events`, `publishers`. Publishing and
handling run together in one process, as on the other side. Prints the sample as one line of JSON.
"""

import asyncio
import json
import sys
import time

import uvloop
from faststream import AckPolicy
from faststream.nats import JStream, NatsBroker, PullSub
from pydantic import BaseModel

task = json.loads(sys.argv[1])
broker = NatsBroker(task["url"], logger=None)
stream = JStream(name="requests", subjects=["requests"])
handled = 0
done = asyncio.Event()


class ItemRequested(BaseModel):
    cart_id: str
    sku: str
    quantity: int


@broker.subscriber(
    "requests",
    stream=stream,
    durable="counter",
    pull_sub=PullSub(batch_size=256),
    ack_policy=AckPolicy.NACK_ON_ERROR,
)
async def handle(event: ItemRequested) -> None:
    global handled
    handled += 1
    if handled == task["events"]:
        done.set()


async def main() -> None:
    await broker.start()
    numbers = iter(range(task["events"]))

    async def publish() -> None:
        for number in numbers:
            event = ItemRequested(cart_id=f"cart-{number % 1000}", sku="sku-3", quantity=1)
            await broker.publish(event, "requests", stream="requests")

    begin = time.perf_counter()
    await asyncio.gather(*[publish() for _ in range(task["publishers"])])
    published = time.perf_counter() - begin
    await done.wait()
    elapsed = time.perf_counter() - begin
    await broker.stop()
    notes = {"events": handled, "published_per_second": round(task["events"] / published)}
    print(json.dumps({"per_second": handled / elapsed, "notes": notes}))


uvloop.run(main())
