"""Addresses of servers, as people may see them."""

from __future__ import annotations


def without_secrets(url: str) -> str:
    """Return a server's URL without user, password and options."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2].partition('?')[0]}"
