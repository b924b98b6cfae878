"""Views as data and decisions: tables, queries, indexes and versions, without any store.

In the order in which a view's definition goes through them: `kinds` (how a field is kept) →
`schema` (tables and row codecs) → `syntax` (what SQL may say) → `names` (what it refers to) →
`inference`, `checks`, `result` (whether it fits) → `query` (compiled) → `rendering`, `paging`
(SQL text and answers); beside them `indexes`, `fingerprint`, and `definition`, which compiles a
whole view. The statements that create and fill the tables are the adapters'.
"""
