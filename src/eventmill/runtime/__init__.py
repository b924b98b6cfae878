"""The loops: routing, turns, the committer, dispatch, timers. Each has one owner and one queue."""
