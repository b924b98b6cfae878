"""Workflows at work: running their steps, holding their commands back, finding what they wait for."""
