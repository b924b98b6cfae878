"""A service's own routes: found by their paths, answered by users' functions."""
