"""User activity: clicks come in, sessions, funnels and an audit log come out.

    clicks ──► tracker ──sends──► Visitor ──┬─► teller ──► sessions ──► Sessions (funnels, days)
    (topic)                       (entity)  ├─► auditor ──► audit (topic, kept ten years)
                                            └─► Visitors (who is active)

A session ends with half an hour of silence. It is noticed by the next click, whose own time is what
counts, so that a log of last year gives the sessions of last year; or, if there is none, by a timer
that every click puts off.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from eventmill import (
    Context,
    Effect,
    Event,
    EventSourcedEntity,
    Record,
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
    send,
)

SILENCE: Final = timedelta(minutes=30)
STEPS: Final = ("product_view", "add_to_cart", "shipping_details", "payment_details", "purchase")
"""The way to a purchase."""
AUDITED: Final = frozenset({"account_page", "payment_details", "payment_error", "purchase"})
"""Pages on which something happens that may have to be proved later."""


class Clicked(Event):
    """Somebody was somewhere: what the shop's pages report."""

    visitor: str
    page: str
    at: datetime
    platform: str
    channel: str


class SessionStarted(Event):
    """A visitor came."""

    number: int
    platform: str
    channel: str


class PageVisited(Event):
    """A visitor was on a page."""

    page: str
    at: datetime


class VisitEnded(Event):
    """A visitor is gone, with all that is to be told of the session."""

    number: int
    started: datetime
    ended: datetime
    pages: list[str]
    platform: str
    channel: str


class SessionEnded(Event):
    """The same for everybody else; `session` is the visitor's id and a number."""

    session: str
    visitor: str
    started: datetime
    ended: datetime
    pages: list[str]
    platform: str
    channel: str


class Audited(Event):
    """Who did what when, and which entry of the visitor's journal says so."""

    visitor: str
    did: str
    at: datetime
    entry: int


clicks = Topic("clicks", Clicked, key="visitor")
sessions = Topic("sessions", SessionEnded, key="session")
audit = Topic("audit", Audited, key="visitor", retention=timedelta(days=3_653))


@component("visitor")
class Visitor(EventSourcedEntity):
    """One visitor; its journal is everything that is known of it, in order."""

    number: int = 0
    """Of the latest session."""
    started: datetime | None = None
    """None: no session is open."""
    last: datetime | None = None
    pages: list[str] = []
    platform: str = ""
    channel: str = ""

    @command
    def click(self, page: str, at: datetime, platform: str, channel: str) -> Effect[None]:
        """Note a click; it may end one session and begin another."""
        events: list[Event] = []
        is_silent = self.last is not None and at - self.last > SILENCE
        if self.started is not None and is_silent:
            events.append(self._end())
        if self.started is None or is_silent:
            number = self.number + 1
            events.append(SessionStarted(number=number, platform=platform, channel=channel))
        visited = PageVisited(page=page, at=at)
        timer = f"silence-{self.entity_id}"
        return self.persist(*events, visited).schedule(
            timer, SILENCE, Visitor.leave, self.entity_id
        )

    @command
    def leave(self) -> Effect[None]:
        """End the session, if one is open."""
        if self.started is None:
            return self.reply(None)
        return self.persist(self._end())

    @query
    def journey(self) -> list[str]:
        """Return the pages of the session that is open; as of a time, of the one that was."""
        return self.pages

    def _end(self) -> VisitEnded:
        assert self.started is not None
        assert self.last is not None
        return VisitEnded(
            number=self.number,
            started=self.started,
            ended=self.last,
            pages=self.pages,
            platform=self.platform,
            channel=self.channel,
        )

    @on(SessionStarted)
    def session_started(self, event: SessionStarted) -> None:
        self.number = event.number
        self.platform, self.channel = event.platform, event.channel
        self.pages, self.started = [], None

    @on(PageVisited)
    def page_visited(self, event: PageVisited) -> None:
        self.started = self.started or event.at
        self.last = event.at
        self.pages.append(event.page)

    @on(VisitEnded)
    def visit_ended(self, event: VisitEnded) -> None:
        self.started, self.pages = None, []


@consumer("tracker", source=clicks)
def track(event: Clicked) -> Effect[None]:
    """Give each click to its visitor."""
    return send(
        Visitor.click,
        event.visitor,
        page=event.page,
        at=event.at,
        platform=event.platform,
        channel=event.channel,
    )


@consumer("teller", source=Visitor)
def tell(event: VisitEnded, ctx: Context) -> Effect[None]:
    """Make a public event of the visitor's own."""
    ended = SessionEnded(
        session=f"{ctx.subject}/{event.number}",
        visitor=ctx.subject,
        started=event.started,
        ended=event.ended,
        pages=event.pages,
        platform=event.platform,
        channel=event.channel,
    )
    return publish(sessions, ended)


@consumer("auditor", source=Visitor)
def note(event: PageVisited, ctx: Context) -> Effect[None]:
    """Write down what may have to be proved."""
    if event.page not in AUDITED:
        return ignore()
    noted = Audited(visitor=ctx.subject, did=event.page, at=event.at, entry=ctx.sequence)
    return publish(audit, noted)


def step_of(pages: list[str]) -> int:
    """Return the furthest of `STEPS` that was taken, counted from 1; 0 for none."""
    return max((nth for nth, page in enumerate(STEPS, 1) if page in pages), default=0)


class Funnel(Record):
    """How many sessions came how far."""

    name: str
    sessions: int
    viewed: int
    put: int
    shipped: int
    paid: int
    bought: int


class Day(Record):
    """What was going on."""

    day: str
    sessions: int
    visitors: int


@component("sessions-view")
class Sessions(View):
    """Every session that ended."""

    class Row(Record):
        session: str
        visitor: str
        day: str
        platform: str
        channel: str
        seconds: int
        pages: int
        step: int
        viewed: int
        """1 if it came to the first step; the others are alike."""
        put: int
        shipped: int
        paid: int
        bought: int

    @on(sessions)
    def ended(self, event: SessionEnded, row: Row | None) -> Row:
        step = step_of(event.pages)
        viewed, put, shipped, paid, bought = (int(step > n) for n in range(len(STEPS)))
        return self.Row(
            session=event.session,
            visitor=event.visitor,
            day=event.started.date().isoformat(),
            platform=event.platform,
            channel=event.channel,
            seconds=round((event.ended - event.started).total_seconds()),
            pages=len(event.pages),
            step=step,
            viewed=viewed,
            put=put,
            shipped=shipped,
            paid=paid,
            bought=bought,
        )

    @query("""
        SELECT platform AS name, COUNT(*) AS sessions, SUM(viewed) AS viewed, SUM(put) AS put,
               SUM(shipped) AS shipped, SUM(paid) AS paid, SUM(bought) AS bought
        FROM sessions_view GROUP BY platform ORDER BY platform
    """)
    def by_platform(self) -> list[Funnel]: ...

    @query("""
        SELECT channel AS name, COUNT(*) AS sessions, SUM(viewed) AS viewed, SUM(put) AS put,
               SUM(shipped) AS shipped, SUM(paid) AS paid, SUM(bought) AS bought
        FROM sessions_view GROUP BY channel ORDER BY channel
    """)
    def by_channel(self) -> list[Funnel]: ...

    @query("""
        SELECT day, COUNT(*) AS sessions, COUNT(DISTINCT visitor) AS visitors
        FROM sessions_view GROUP BY day ORDER BY day
    """)
    def by_day(self) -> list[Day]: ...

    @query("SELECT * FROM sessions_view WHERE visitor = :visitor ORDER BY day, session")
    def of_visitor(self, visitor: str) -> list[Row]: ...


@component("visitors")
class Visitors(View):
    """One row for each visitor, up to the latest click."""

    class Row(Record):
        visitor: str
        sessions: int = 0
        clicks: int = 0
        purchases: int = 0
        last: datetime | None = None

    @on(Visitor)
    def seen(self, event: SessionStarted | PageVisited, row: Row | None, ctx: Context) -> Row:
        row = row or self.Row(visitor=ctx.subject)
        match event:
            case SessionStarted():
                row.sessions = event.number
            case PageVisited():
                row.clicks += 1
                row.purchases += event.page == "purchase"
                row.last = event.at
        return row

    @query("SELECT * FROM visitors ORDER BY clicks DESC, visitor LIMIT :limit")
    def most_active(self, limit: int) -> list[Row]: ...

    @query("SELECT * FROM visitors WHERE last < :since ORDER BY last, visitor")
    def not_seen_since(self, since: datetime) -> list[Row]: ...


service = Service(
    "activity",
    components=[Visitor, track, tell, note, Sessions, Visitors],
    topics=[clicks, sessions, audit],
)
