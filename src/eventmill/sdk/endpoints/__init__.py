"""A service's own HTTP routes: what users write, and reading it."""
