"""Turns: one command after the other per entity, on the state in memory."""
