"""`/metrics`: the node's numbers in Prometheus' text format, put together when they are asked for.

Nothing is counted for this alone: the numbers come from the runtime's and the front's own fields.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder
from starlette.requests import Request
from starlette.responses import Response

from eventmill.http.bodies import Bodies
from eventmill.http.meter import BUCKETS, Meter
from eventmill.http.streams import Streams
from eventmill.runtime.dispatch.subscription import Subscription
from eventmill.runtime.runtime import Runtime

_SMALLEST: Final = 6
"""The first bucket that is told: 64 microseconds. What was faster is counted in it."""

_BOUNDS: Final = [str(2**i / 1e6) for i in range(_SMALLEST, BUCKETS - 1)] + ["+Inf"]

Labelled = Mapping[Any, float]
"""Values by the labels' values."""


class Metrics:
    """Collects from one runtime; has a registry of its own, so that two nodes fit in a process."""

    def __init__(
        self, runtime: Runtime, meter: Meter, open_streams: Streams, bodies: Bodies
    ) -> None:
        self._runtime = runtime
        self._meter = meter
        self._streams = open_streams
        self._bodies = bodies
        self._registry = CollectorRegistry()
        self._registry.register(self)

    async def scrape(self, request: Request) -> Response:
        """Answer `GET /metrics`."""
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(self._registry), headers={"content-type": content_type})

    def describe(self) -> Iterable[Metric]:
        """Tell the registry nothing: the names are the same in every collection."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield everything; called by the registry."""
        yield from self._journal()
        yield from self._requests()
        yield from self._subscriptions()

    def _journal(self) -> Iterator[Metric]:
        runtime = self._runtime
        yield _counter("eventmill_commits", "Transactions written.", runtime.committer.commits)
        yield _counter("eventmill_entries", "Journal entries written.", runtime.committer.entries)
        yield _gauge(
            "eventmill_commit_waiting",
            "Callers that wait for the next commit.",
            runtime.committer.waiting,
        )
        fired, late = runtime.scheduler.fired, runtime.scheduler.late
        yield _counter("eventmill_timers_fired", "Timers that were due and fired.", fired)
        yield _gauge("eventmill_timers_late_seconds", "How late the last one was fired.", late)
        yield _gauge("eventmill_journal_position", "End of the journal.", runtime.tails.total)
        yield _gauge("eventmill_cache_entities", "Entities in memory.", len(runtime.entities.cells))
        yield _gauge("eventmill_cache_bytes", "Their encoded size.", runtime.entities.cells.bytes)
        yield _gauge("eventmill_streams", "Open event streams.", self._streams.open)
        yield _gauge("eventmill_bodies", "Request bodies under way.", len(self._bodies))
        failed = len(runtime.supervisor.failures)
        yield _gauge("eventmill_failed_loops", "Loops that ended by an error.", failed)

    def _requests(self) -> Iterator[Metric]:
        meter = self._meter
        answered = {(*key, "ok"): timing.count for key, timing in meter.timings.items()}
        yield _labelled(
            CounterMetricFamily,
            "eventmill_requests",
            "Commands and queries of entities by outcome: ok or the kind of error.",
            ("component", "handler", "outcome"),
            answered | meter.failures,
        )
        yield _labelled(
            CounterMetricFamily,
            "eventmill_refused",
            "Requests that reached no handler, by kind of error.",
            ("kind",),
            {(kind,): count for kind, count in meter.refusals.items()},
        )
        published = {
            (topic, result): count
            for topic, counts in meter.published.items()
            for result, count in zip(("accepted", "duplicate"), counts, strict=True)
        }
        yield _labelled(
            CounterMetricFamily,
            "eventmill_published",
            "Events published over HTTP.",
            ("topic", "result"),
            published,
        )
        yield self._seconds()

    def _seconds(self) -> Metric:
        family = HistogramMetricFamily(
            "eventmill_request_seconds",
            "From arrival to answer, for one answered POST in eight.",
            labels=("component", "handler"),
        )
        for key, timing in self._meter.timings.items():
            total, buckets = sum(timing.buckets[:_SMALLEST]), []
            for bound, count in zip(_BOUNDS, timing.buckets[_SMALLEST:], strict=True):
                total += count
                buckets.append((bound, total))
            family.add_metric(key, buckets, timing.seconds)
        return family

    def _subscriptions(self) -> Iterator[Metric]:
        names = {(s.name,): s for s in self._runtime.subscriptions.values()}
        for family, name, text, read in _OF_SUBSCRIPTION:
            yield _labelled(
                family,
                f"eventmill_subscription_{name}",
                text,
                ("subscription",),
                {key: float(read(subscription)) for key, subscription in names.items()},
            )


Family = type[CounterMetricFamily | GaugeMetricFamily]

_OF_SUBSCRIPTION: Final[list[tuple[Family, str, str, Callable[[Subscription], float]]]] = [
    (GaugeMetricFamily, "lag", "Journal positions behind the end.", lambda s: s.lag),
    (GaugeMetricFamily, "paused", "1 while it is paused.", lambda s: s.paused),
    (GaugeMetricFamily, "blocked_keys", "Keys whose events are parked.", lambda s: len(s.blocked)),
    (GaugeMetricFamily, "dead_keys", "Keys that wait for an operator.", lambda s: s.blocked.dead),
    (CounterMetricFamily, "handled", "Entries handled.", lambda s: s.handled),
    (CounterMetricFamily, "failures", "Reactions that failed.", lambda s: s.failures),
    (CounterMetricFamily, "lost", "Messages gone before they were read.", lambda s: s.marks.lost),
]


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(name, text, value=value)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=value)


def _labelled(
    family: Family,
    name: str,
    text: str,
    labels: tuple[str, ...],
    values: Labelled,
) -> Metric:
    metric = family(name, text, labels=labels)
    for key, value in values.items():
        metric.add_metric(key, value)
    return metric
