"""Composition: the only room that names adapters."""
