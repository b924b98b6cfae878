"""Replays: a consumer's function run again over a stretch of the past, beside the consumer itself."""

from __future__ import annotations

from typing import Final

import msgspec

from eventmill.model import limits

PREFIX: Final = "replay@"


class Replay(msgspec.Struct, frozen=True):
    """A replay, as it is stored."""

    consumer: str
    group: str
    begins: dict[int, int]
    """Positions by shard: what is behind them is replayed, ..."""
    ends: dict[int, int]
    """... up to these."""
    effects: bool = False
    """Whether what the function returns happens; otherwise it is only counted."""
    finished: int = 0
    """When all was replayed, microseconds since the epoch; 0: not yet."""
    ended: bool = False
    """No node runs it any more; what is left of it goes when all of them know."""

    @property
    def name(self) -> str:
        """Of its subscription."""
        return f"{PREFIX}{self.consumer}.{self.group}"


class Tally(msgspec.Struct, frozen=True):
    """What came of a replay in one home shard, or in all."""

    events: int = 0
    """That were handled, those that the function does not take included."""
    effects: dict[str, int] = {}
    """How many by what they are, as `publish orders` or `send cart.add_item`."""
    digest: int = 0
    """Two replays of the same events have the same if their effects are the same: a sum over the
    events, whatever their order."""

    def plus(self, other: Tally) -> Tally:
        """Return both together."""
        effects = dict(self.effects)
        for name, count in other.effects.items():
            known = name if name in effects or len(effects) < limits.REPLAY_EFFECTS_MAX else "other"
            effects[known] = effects.get(known, 0) + count
        digest = (self.digest + other.digest) % DIGESTS
        return Tally(self.events + other.events, effects, digest)


DIGESTS: Final = 1 << 63
"""How many digests there are: they are numbers that every JSON reader of 64 bits takes."""
