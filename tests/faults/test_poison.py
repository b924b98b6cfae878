"""Many messages, 10 % duplicates, 1 % poison: exact counts, order per key, nobody blocked."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from pathlib import Path

import msgspec
import pytest

from eventmill import Context, Event, Retry, Service, Topic, consumer
from eventmill.adapters.sqlite.store import Store
from eventmill.model.commit import Letter, LetterStatus
from eventmill.runtime.operating.operations import Operations
from eventmill.runtime.runtime import Runtime
from eventmill.runtime.topics.publisher import Message
from tests.faults import inprocess
from tests.faults.figures import Report

KEYS = 5_000
BATCH = 500
BATCHES_AT_ONCE = 4
DUPLICATES = 0.10
POISON = 0.01
ATTEMPTS = 2


class Reading(Event):
    sensor: str
    number: int
    """Counts a sensor's readings."""
    poison: bool = False


readings = Topic("readings", Reading, key="sensor")
seen: dict[str, list[int]] = defaultdict(list)
"""Sensor → numbers that were handled, in order."""
attempts: Counter[tuple[str, int]] = Counter()
"""Poisonous readings and how often each was tried."""
mended: list[bool] = []


@consumer(
    "gauge", source=readings, retry=Retry(attempts=ATTEMPTS, initial=0.001, maximum=0.001, jitter=0)
)
def gauge(event: Reading, ctx: Context) -> None:
    if event.poison and not mended:
        attempts[event.sensor, event.number] += 1
        raise ValueError(f"{event.sensor} cannot read {event.number}")
    seen[event.sensor].append(event.number)


service = Service("gauges", components=[gauge], topics=[readings])


class Plan:
    """What is sent: unique readings, some poisonous, then duplicates mixed in."""

    def __init__(self, messages: int, seed: int) -> None:
        luck = random.Random(seed)
        unique = round(messages * (1 - DUPLICATES))
        counts: Counter[str] = Counter()
        self.poison: dict[str, list[int]] = defaultdict(list)
        sent: list[Message] = []
        for _ in range(unique):
            sensor = f"s{luck.randrange(KEYS)}"
            counts[sensor] += 1
            poison = luck.random() < POISON
            if poison:
                self.poison[sensor].append(counts[sensor])
            sent.append(_message(sensor, counts[sensor], poison))
        self.unique = unique
        self.counts = counts
        # A duplicate comes at any time after its first: at once, or reordered far behind.
        ordered = [(place, message) for place, message in enumerate(sent)]
        copies = luck.choices(ordered, k=messages - unique)
        late = [(place + luck.choice((0.5, luck.random() * unique)), m) for place, m in copies]
        self.messages = [m for _, m in sorted(ordered + late, key=lambda pair: pair[0])]

    def before_poison(self, sensor: str) -> int:
        """How many readings of a sensor can be handled as long as its poison is parked."""
        first = self.poison.get(sensor)
        return first[0] - 1 if first else self.counts[sensor]


@pytest.fixture(autouse=True)
def fresh() -> None:
    seen.clear()
    attempts.clear()
    mended.clear()


@pytest.mark.parametrize(
    "messages",
    [20_000, *(pytest.param(n, marks=pytest.mark.soak) for n in (100_000, 500_000))],
)
@pytest.mark.timeout(0)
async def test_poison_and_duplicates(tmp_path: Path, report: Report, messages: int) -> None:
    plan = Plan(messages, seed=5)
    async with inprocess.running(service, Store(tmp_path / "data")) as runtime:
        fresh_ones = await _publish(runtime, plan)
        assert fresh_ones == plan.unique
        gauged = runtime.subscription("gauge")
        await inprocess.until(
            lambda: gauged.lag == 0 and all(due is None for due in gauged.blocked.values()),
            "every message handled or parked",
        )
        letters = await _letters(runtime)
        _check_parked(plan, letters)

        # Each first poison is given up, the ones behind it come forward until none is left.
        discarded = await _discard_all(runtime)
    _check_after_discard(plan, discarded)
    report(
        f"{messages} sent, {fresh_ones} unique, {sum(map(len, seen.values()))} handled, "
        f"{len(discarded)} poisonous, each parked once and tried {ATTEMPTS} times"
    )
    assert len(discarded) >= 0.008 * messages


async def test_redrive_in_order(tmp_path: Path) -> None:
    """The handler is mended: a redrive handles the poison and everything behind it, in order."""
    plan = Plan(20_000, seed=6)
    async with inprocess.running(service, Store(tmp_path / "data")) as runtime:
        await _publish(runtime, plan)
        gauged = runtime.subscription("gauge")
        await inprocess.until(
            lambda: gauged.lag == 0 and all(due is None for due in gauged.blocked.values()),
            "every message handled or parked",
        )
        assert len(gauged.blocked) == len(plan.poison) >= 100
        mended.append(True)
        await Operations(runtime).redrive("gauge")
        await inprocess.drained(runtime)
        assert await _letters(runtime) == []
    assert seen == {sensor: list(range(1, n + 1)) for sensor, n in plan.counts.items()}


async def _publish(runtime: Runtime, plan: Plan) -> int:
    """Publish in batches, several under way, so that duplicates race with their first."""
    batches = [plan.messages[i : i + BATCH] for i in range(0, len(plan.messages), BATCH)]
    total = 0
    for first in range(0, len(batches), BATCHES_AT_ONCE):
        group = batches[first : first + BATCHES_AT_ONCE]
        total += sum(
            await inprocess.together(runtime.publisher.messages("readings", b) for b in group)
        )
    return total


def _check_parked(plan: Plan, letters: list[Letter]) -> None:
    by_key: dict[str, list[Letter]] = defaultdict(list)
    for letter in letters:
        by_key[letter.entry.subject].append(letter)
    assert by_key.keys() == plan.poison.keys()
    for sensor, count in plan.counts.items():
        ready = plan.before_poison(sensor)
        assert seen[sensor] == list(range(1, ready + 1)), f"{sensor}: order or loss"
        parked = [_number(letter) for letter in by_key.get(sensor, ())]
        assert parked == list(range(ready + 1, count + 1)), f"{sensor}: parked out of order"
        statuses = [letter.status for letter in by_key.get(sensor, ())]
        assert statuses[:1] == [LetterStatus.DEAD] * bool(statuses)
        assert set(statuses[1:]) <= {LetterStatus.WAITING}


async def _discard_all(runtime: Runtime) -> Counter[tuple[str, int]]:
    operations, gauged = Operations(runtime), runtime.subscription("gauge")
    discarded: Counter[tuple[str, int]] = Counter()
    while gauged.blocked:
        dead = await _letters(runtime, LetterStatus.DEAD)
        for letter in dead:
            discarded[letter.entry.subject, _number(letter)] += 1
        assert await operations.discard("gauge") == len(dead)
        await inprocess.until(
            lambda: all(due is None for due in gauged.blocked.values()), "the next heads tried"
        )
    return discarded


def _check_after_discard(plan: Plan, discarded: Counter[tuple[str, int]]) -> None:
    poison = {(sensor, n) for sensor, numbers in plan.poison.items() for n in numbers}
    assert discarded == Counter(poison), "a poisonous message was not parked exactly once"
    assert attempts == Counter(dict.fromkeys(poison, ATTEMPTS))
    for sensor, count in plan.counts.items():
        good = [n for n in range(1, count + 1) if (sensor, n) not in poison]
        assert seen[sensor] == good, f"{sensor}: order, loss or a second effect"


async def _letters(runtime: Runtime, *statuses: LetterStatus) -> list[Letter]:
    found: list[Letter] = []
    after = ("", 0, 0)
    while page := await runtime.store.parking.letters(
        subscription="gauge", statuses=statuses, after=after, limit=5_000
    ):
        found += page
        after = (page[-1].subscription, page[-1].entry.shard, page[-1].entry.position)
    return found


def _message(sensor: str, number: int, poison: bool) -> Message:
    payload = msgspec.json.encode(Reading(sensor=sensor, number=number, poison=poison))
    return Message("Reading", 1, sensor, payload, None, f"/sensors {sensor} {number}")


def _number(letter: Letter) -> int:
    return msgspec.json.decode(letter.entry.payload, type=Reading).number
