"""Transforms as pure functions: windows, joins, and how their state is kept in a row."""
