"""Unit kit of a replicated entity: several nodes by hand. No store, no loop.

    kit = ReplicasKit(Player, nodes=("a", "b"))
    kit.run("a", Player.award, "gold")
    kit.exchange()
    kit.part({"a"}, {"b"})
    kit.run("a", Player.lose, "gold")
    kit.run("b", Player.award, "gold")       # neither knows of the other
    kit.heal()
    assert kit.state("a").badges.value == {"gold"}

Commands go through the engine's own decision, with all guards on. Every exchange goes through bytes,
and each delta is taken twice: what depends on order or on "once" is found here.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any, Generic, ParamSpec, TypeVar

from eventmill.engine import replicated as engine
from eventmill.engine.outgoing import Author
from eventmill.errors import FAILURES, Deleted, EventmillError, Rejected
from eventmill.model.commit import Commit
from eventmill.model.effect import Effect
from eventmill.model.entry import with_members
from eventmill.model.handler import Handler
from eventmill.model.placement import EMBEDDED
from eventmill.model.replicated import decode, encode
from eventmill.runtime.replicated.replicas import Replica
from eventmill.runtime.turns.guards import Guards
from eventmill.runtime.turns.turn import failure_of
from eventmill.sdk.reading_replicated import define_replicated
from eventmill.sdk.replicated import ReplicatedEntity
from eventmill.testing.clock import MIDNIGHT
from eventmill.testing.entity import Result
from eventmill.testing.fitting import check_fit

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S", bound=ReplicatedEntity)


class ReplicasKit(Generic[S]):
    """One replicated entity of class `cls` and id `id`, on several nodes.

    Attributes a test may set: `now`, the time of the next commands; `metadata`, that of the requests.
    Raises `ConfigurationError` for a class that no service would take.
    """

    def __init__(
        self, cls: type[S], id: str = "test", *, nodes: Collection[str] = ("a", "b", "c")
    ) -> None:
        check_fit("ReplicasKit", cls)
        self._guards = Guards(enabled=True)
        self.definition = self._guards.watched(define_replicated(cls))
        self.now: datetime = MIDNIGHT
        self.metadata: dict[str, Any] = {}
        self._replicas = {node: Replica(self.definition, id, EMBEDDED) for node in nodes}
        self._actors = {node: number for number, node in enumerate(nodes, 1)}
        self._deltas: list[bytes] = []
        self._seen: dict[str, set[int]] = {node: set() for node in nodes}
        """Numbers of deltas that a node has."""
        self._groups: list[set[str]] = [set(nodes)]

    def __repr__(self) -> str:
        return f"<ReplicasKit {self.definition.id} [{', '.join(self._replicas)}]>"

    def state(self, node: str) -> S:
        """The state as a node sees it; a copy."""
        state: S = self.definition.decode_state(encode(self._replicas[node].causal))
        state.bind(self._replicas[node].identity)
        return state

    @property
    def converged(self) -> bool:
        """Whether all nodes have the same state."""
        return len({encode(replica.causal) for replica in self._replicas.values()}) == 1

    def run(
        self, node: str, handler: Handler[P, R], /, *args: P.args, **kwargs: P.kwargs
    ) -> Result[S, R]:
        """Run a command or query on a node; the others hear of it at the next exchange.

        Raises `InvalidPayload` for arguments that do not fit and `HandlerFailed` for what the
        handler raises or a guard finds; a refusal is in the result.
        """
        arguments = handler.arguments(args, kwargs)
        replica = self._replicas[node]
        replica.identity.now = round(self.now.timestamp() * 1e6)
        replica.identity.metadata = with_members(None, self.metadata)
        try:
            if replica.deleted:
                raise Deleted(f"{self.definition.id}/{replica.id} was deleted")
            if not handler.writes:
                reply = self._guards.ask(replica, handler, arguments)
                return Result(handler, self.state(node), reply=reply)
            effect = self._guards.run(replica, handler, arguments)
            reply = self._decided(node, replica, handler, effect)
        except (Rejected, Deleted) as refusal:
            return Result(handler, self.state(node), rejected=refusal)
        except EventmillError:
            raise
        except FAILURES as error:
            raise failure_of(handler, error) from error
        return Result(handler, self.state(node), reply=reply, effect=effect)

    def exchange(self, *nodes: str) -> None:
        """Let nodes (all, if none is named) tell each other what they know, as far as they reach each
        other."""
        for group in self._groups:
            members = group & set(nodes or group)
            known = set().union(*(self._seen[node] for node in members))
            for node in members:
                self._take(node, known - self._seen[node])

    def part(self, *groups: Collection[str]) -> None:
        """Let only nodes of the same group reach each other; who is in none is alone."""
        self._groups = [set(group) for group in groups]
        rest = set(self._replicas).difference(*self._groups)
        self._groups += [{node} for node in rest]

    def heal(self) -> None:
        """Let all nodes reach each other again, and exchange."""
        self._groups = [set(self._replicas)]
        self.exchange()

    def _decided(
        self, node: str, replica: Replica, handler: Handler[Any, Any], effect: Effect[Any]
    ) -> bytes:
        writer, now = replica.writer, replica.identity.now
        engine.size_of_effect(handler, effect, replica.bytes)
        if effect.outgoing:
            author = Author(handler.place)
            engine.published(handler, effect, now, replica.identity.metadata, author).add_to(
                Commit()
            )
        before = encode(replica.causal)
        writer.seal(self._actors[node])
        try:
            reply = engine.decide(writer, effect, replica.state, now)
        except FAILURES:
            replica.take(decode(before), len(before))
            raise
        replica.deleted = engine.is_deleted(replica.causal)
        if effect.merged:
            self._seen[node].add(len(self._deltas))
            self._deltas.append(encode(writer.delta))
        return reply

    def _take(self, node: str, numbers: set[int]) -> None:
        replica = self._replicas[node]
        for number in sorted(numbers, reverse=True) + sorted(numbers):
            replica.causal.join(decode(self._deltas[number], is_delta=True))
        replica.deleted = engine.is_deleted(replica.causal)
        self._seen[node] |= numbers
