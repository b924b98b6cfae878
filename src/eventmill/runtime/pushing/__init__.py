"""Pushed subscriptions: made and changed at run time, they send events to sinks over HTTP."""
