"""The contracts of the store and cluster ports as tests: what an adapter author runs.

    from eventmill.testing.contract import StoreContract

    class TestMyStore(StoreContract):
        def make_store(self, directory):
            return MyStore(directory)

Run it with pytest and pytest-asyncio in `asyncio_mode = "auto"`. Every sentence of
`eventmill.ports.store` and `eventmill.ports.cluster` has a test whose name says it; a test that fails names what the store does
wrong. For readable failures put `pytest.register_assert_rewrite("eventmill.testing.contract")`
into `conftest.py` before the import.
"""

from eventmill.testing.contract.commits import CommitContract
from eventmill.testing.contract.harness import command, entry, letter
from eventmill.testing.contract.journal import JournalContract
from eventmill.testing.contract.leases import LeaseContract
from eventmill.testing.contract.parking import ParkingContract
from eventmill.testing.contract.shared import SharedContract
from eventmill.testing.contract.timers import TimerContract
from eventmill.testing.contract.views import ViewContract


class StoreContract(CommitContract, JournalContract, ParkingContract, TimerContract, ViewContract):
    """Everything a store must do. Override `make_store`, and `reopen` if a second object on the
    same directory does not see the data."""


__all__ = ["LeaseContract", "SharedContract", "StoreContract", "command", "entry", "letter"]
