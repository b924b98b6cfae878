"""The client: a service's commands, queries, streams and topics over HTTP, typed by its methods."""

from eventmill.client.client import Client, Published
from eventmill.client.connections import LOST, TIMED_OUT, error_of
from eventmill.client.streams import Change

__all__ = ["LOST", "TIMED_OUT", "Change", "Client", "Published", "error_of"]
