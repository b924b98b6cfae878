"""Implementations of the ports. Only `node` and `testing` name one; driver errors stop here."""
