"""The front: HTTP in, envelopes out. The only room that knows status codes."""
