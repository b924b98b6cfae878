"""Money moves from one wallet to another; no crash makes any of it, or loses it."""
