"""The version after `vault_next`: every node reads version 2 of `Received`, so it is written, too. Its
source would lack the `@downcast`; nothing else differs."""

from __future__ import annotations

from eventmill.model.events import event_type_of
from tests.faults.vault_next import Received, service

__all__ = ["service"]

kind = event_type_of(Received)
kind.downcaster, kind.written = None, kind.version
