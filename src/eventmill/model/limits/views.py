"""Views: rows, queries, pages."""

from __future__ import annotations

from typing import Final

from eventmill.model.limits.stored import PAYLOAD_BYTES_MAX

VIEW_ROWS_COLLECTED_MAX: Final = 1_000
"""Rows of a query that is collected into one answer (Akka default)."""

VIEW_ROWS_STREAMED_MAX: Final = 10_000
"""Rows of a query that is streamed (Akka default)."""

VIEW_ROWS_CACHED: Final = 200_000
"""Rows of one view table kept in memory between batches: some 60 MB of small rows."""

VIEW_BYTES_CACHED: Final = 64 << 20
"""The same bound in bytes of the encoded rows."""

VIEW_ROW_BYTES_MAX: Final = 2 * PAYLOAD_BYTES_MAX
"""One view row: a whole payload in JSON or base64, and some columns besides."""

VIEW_BATCH: Final = 4_096
"""Entries that a view which is behind takes at once: neighbouring rows share pages, so fewer and
larger commits write far less (measured: a build of 100,000 rows). It ends early when the rows bring
`COMMIT_BYTES_MAX`."""

VIEW_PORTION_FIRST: Final = 64
"""Entries whose rows a view first holds in memory before it knows how large they are."""

VIEW_ANSWER_BYTES_MAX: Final = 64 << 20
"""One query's answer: 10,000 rows of 6 KB."""

VIEW_PATTERN_BYTES_MAX: Final = 1_000
"""A pattern of LIKE (SQLite: 50,000): matching takes as many steps as pattern and text have
characters, multiplied, and cannot be interrupted within one row."""

VIEW_ARGUMENT_CHARACTERS_MAX: Final = 4_096
"""A text that a query is given: looking for it in a column of a MiB takes up to 0.1 s (measured), which
cannot be interrupted within one row."""

VIEW_QUERIES_MAX: Final = 64
"""View queries of a node that run or wait for a thread; beyond it callers get 429."""

VIEW_QUERY_SECONDS: Final = 5.0
"""Time one view query may run before it is interrupted."""

VIEW_COLUMNS_MAX: Final = 200
"""Fields of a view's row: a query's answer needs two function arguments each (SQLite: 1,000)."""

VIEW_INDEXES_MAX: Final = 8
"""Indexes of one view table: each slows every write of a row."""

VIEW_PAGE_ROWS: Final = 100
"""Rows of a page, unless the query has a `page_size` (Akka default for token pages)."""

PAGE_TOKEN_BYTES_MAX: Final = 4_096
"""A page token holds the sort values of a row and travels in URLs (servers take 8 KiB lines)."""
