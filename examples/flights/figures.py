"""What the service's views say, beside what the data says."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import isclose
from typing import Any, Literal

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from examples.flights.expected import Expected
from examples.flights.node import Node

EVERYTHING = 10_000
"""More rows than any of the queries has."""

BUSIEST = 10
LONGEST = 5


@dataclass
class Shown:
    """The rows of the views."""

    carriers: list[Any]
    hours: list[Any]
    fleet: list[Any]
    two_places: list[Any]
    alerts: int
    longest: list[Any]


@dataclass
class Comparison:
    """Which figures agree with the data."""

    figures: int = 0
    differences: list[str] = field(default_factory=list)

    def expect(self, name: str, shown: Any, expected: Any) -> None:
        """Compare one figure; averages may differ in the last digits."""
        self.figures += 1
        if isinstance(shown, float) and isinstance(expected, float):
            if isclose(shown, expected, rel_tol=1e-9, abs_tol=1e-9):
                return
        elif shown == expected:
            return
        self.differences.append(f"{name}: the service says {shown}, the data {expected}")


async def ask(node: Node) -> Shown:
    """Query the views."""
    return Shown(
        carriers=await node.rows("delays", "by_carrier"),
        hours=await node.rows("delays", "by_airport_and_hour"),
        fleet=await node.rows("fleet", "busiest", limit=EVERYTHING),
        two_places=await node.rows("fleet", "in_two_places"),
        alerts=(await node.rows("alerts", "count"))[0]["alerts"],
        longest=await node.rows("alerts", "longest", limit=LONGEST),
    )


def compare(shown: Shown, expected: Expected, comparison: Comparison) -> None:
    """Compare every figure of the views."""
    comparison.expect("alerts", shown.alerts, expected.alerts)
    names = sorted(row["carrier"] for row in shown.carriers)
    comparison.expect("carriers", names, sorted(expected.carriers))
    for row in shown.carriers:
        carrier = expected.carriers[row["carrier"]]
        of = f"carrier {row['carrier']}"
        comparison.expect(f"{of}, name", row["name"], carrier.name)
        comparison.expect(f"{of}, flights", row["flights"], carrier.flights)
        comparison.expect(f"{of}, cancelled", row["cancelled"], carrier.cancelled)
        for name in ("departure_delay", "arrival_delay"):
            comparison.expect(f"{of}, {name}", row[name], getattr(carrier, name).value)
    places = [(row["origin"], row["hour"]) for row in shown.hours]
    comparison.expect("airports and hours", places, sorted(expected.hours))
    for row in shown.hours:
        hour = expected.hours[row["origin"], row["hour"]]
        of = f"{row['origin']} at {row['hour']}"
        comparison.expect(f"{of}, flights", row["flights"], hour.flights)
        comparison.expect(f"{of}, delay", row["departure_delay"], hour.departure_delay.value)
    order = sorted(expected.aircraft, key=lambda id: (-expected.aircraft[id].flights, id))
    comparison.expect("aircraft", [row["aircraft"] for row in shown.fleet], order)
    for row in shown.fleet:
        plane = expected.aircraft[row["aircraft"]]
        for name in ("flights", "air_time", "distance", "overlaps"):
            comparison.expect(f"{row['aircraft']}, {name}", row[name], getattr(plane, name))
    doubled = {row["aircraft"]: row["overlaps"] for row in shown.two_places}
    overlaps = {id: plane.overlaps for id, plane in expected.aircraft.items() if plane.overlaps}
    comparison.expect("aircraft in two places", doubled, overlaps)


def show(shown: Shown, console: Console) -> None:
    """Print the views as tables."""
    for table in (_carriers(shown), _hours(shown), _fleet(shown), _alerts(shown)):
        console.print(f"\n[bold]{table.title}[/]\n")
        table.title = None  # above it in one line, also where the table is narrow
        console.print(table)
    times = sum(row["overlaps"] for row in shown.two_places)
    impossible = "their records name the wrong aircraft" if times else "nobody was mistaken"
    console.print(
        f"\n{len(shown.two_places)} aircraft were in two places at once, {times} times in all: "
        f"{impossible}.\n"
    )


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, box=SIMPLE_HEAD, show_edge=False)
    for number, column in enumerate(columns):
        justify: Literal["left", "right"] = "left" if number == 0 else "right"
        table.add_column(column, justify=justify, no_wrap=True)
    return table


def _carriers(shown: Shown) -> Table:
    columns = ("airline", "flights", "cancelled", "late off", "late in")
    table = _table("Delay by carrier, minutes", *columns)
    for row in shown.carriers:
        table.add_row(
            row["name"],
            f"{row['flights']:,}",
            f"{row['cancelled'] / row['flights']:.1%}",
            _minutes(row["departure_delay"]),
            _minutes(row["arrival_delay"]),
        )
    return table


def _hours(shown: Shown) -> Table:
    airports = sorted({row["origin"] for row in shown.hours})
    delays = {(row["origin"], row["hour"]): row["departure_delay"] for row in shown.hours}
    table = _table("Delay by airport and hour, minutes at departure", "hour", *airports)
    for hour in sorted({row["hour"] for row in shown.hours}):
        table.add_row(f"{hour:02}", *(_minutes(delays.get((a, hour))) for a in airports))
    return table


def _fleet(shown: Shown) -> Table:
    table = _table("Busiest aircraft", "aircraft", "flights", "hours in the air", "miles")
    for row in shown.fleet[:BUSIEST]:
        hours = f"{row['air_time'] / 60:,.0f}"
        table.add_row(row["aircraft"], f"{row['flights']:,}", hours, f"{row['distance']:,}")
    return table


def _alerts(shown: Shown) -> Table:
    title = f"Longest of {shown.alerts:,} delay alerts"
    table = _table(title, "flight", "to", "minutes late")
    for row in shown.longest:
        table.add_row(row["flight"], row["destination"], f"{row['departure_delay']:,}")
    return table


def _minutes(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"
