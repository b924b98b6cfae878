"""Decisions: pure functions from data to data. No I/O, no clock, no randomness, no logging."""
