"""The garbage collector of a process that is a node."""

from __future__ import annotations

import gc


def calm() -> None:
    """Collect cyclic garbage rarely, from now on.

    What the node was built of lives as long as it does, and requests leave next to no cycles, while
    a collection over a full entity cache stops everything: the slowest hundredth of commands
    became two to three times faster.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 50, 100)
