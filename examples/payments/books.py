"""The books: another service, that knows of payments only what their service stream says.

eventmill run examples.payments.service:service examples.payments.books:service
"""

from __future__ import annotations

from eventmill import Context, Record, Service, ServiceStream, View, component, on, query
from examples.payments.service import Taken


@component("turnover")
class Turnover(View):
    """What each merchant has taken, ever."""

    class Row(Record):
        merchant: str
        payments: int = 0
        amount: int = 0

    @on(ServiceStream("payments", "takings"))
    def taken(self, event: Taken, row: Row | None, ctx: Context) -> Row:
        row = row or self.Row(merchant=ctx.subject)
        row.payments += 1
        row.amount += event.amount
        return row

    @query("SELECT * FROM turnover ORDER BY amount DESC, merchant LIMIT :places")
    def largest(self, places: int) -> list[Row]: ...


service = Service("books", components=[Turnover])
