"""What data pipelines are made of: streams, windows, joins, aggregates.

`docs/pipelines.md` has an example of each.
"""

from eventmill.model.transform import Aggregate, Hopping, Pair, Pane, Session, Tumbling, Window
from eventmill.sdk.aggregates import (
    count,
    first_of,
    fold,
    last_of,
    max_of,
    mean_of,
    min_of,
    sum_of,
)
from eventmill.sdk.stream import Results, Stream, Windowed
from eventmill.sdk.transform import Transform

__all__ = [
    "Aggregate",
    "Hopping",
    "Pair",
    "Pane",
    "Results",
    "Session",
    "Stream",
    "Transform",
    "Tumbling",
    "Window",
    "Windowed",
    "count",
    "first_of",
    "fold",
    "last_of",
    "max_of",
    "mean_of",
    "min_of",
    "sum_of",
]
