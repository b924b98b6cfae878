"""Transforms: events into windows, pairs and other events, in one commit with the offset."""
