"""One service with every kind of component, of the examples and of what other faults run."""

from __future__ import annotations

from eventmill import Service
from examples.leaderboard import game
from examples.wallet_transfer import service as wallets
from tests.faults import alarms, guests, tides

PARTS = (wallets.service, game.service, alarms.service, tides.service, guests.service)

service = Service(
    "everything",
    components=[component for part in PARTS for component in part.components],
    topics=[topic for part in PARTS for topic in part.topics],
)
