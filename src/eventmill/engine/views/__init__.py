"""Views as data and decisions: tables, queries, indexes and versions, without any store.

In the order in which a view's definition goes through them: `kinds` (how a field is kept) →
`schema` (tables and row codecs) → `syntax` (what SQL may say) → `names` (what it refers to) →
`inference`, `checks`, `result` (whether it fits) → `query`, which calls them → `rendering` and
`paging` (SQL text) → `compiled` (calls and answers). Beside them `indexes` and `fingerprint`.
`definition` does all of it for a whole view, `placement` names a version's tables. The statements
that create and fill the tables are the adapters'.
"""
