"""Dispatch: the journal's tail, and the subscriptions that react to it, batch by batch."""
