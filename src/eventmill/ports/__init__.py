"""Seams with at least two implementations each; every one has a contract suite in `testing`."""
