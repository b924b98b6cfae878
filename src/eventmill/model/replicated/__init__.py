"""Replicated data types: values that every node changes for itself and that become equal everywhere.

Pure: `causal` is the lattice and its join, the others read it and say what changes. A family of types
is a module; `docs/replicated.md` tells users which to take.
"""

from eventmill.model.replicated.causal import Causal, Writer, decode, encode
from eventmill.model.replicated.change import Change
from eventmill.model.replicated.counters import GCounter, PNCounter
from eventmill.model.replicated.flags import Flag, Vote
from eventmill.model.replicated.maps import CounterMap, MultiMap, ORMap, RegisterMap
from eventmill.model.replicated.registers import LWWRegister, MVRegister
from eventmill.model.replicated.sets import GSet, ORSet
from eventmill.model.replicated.value import Kind, Value, kind_of

__all__ = [
    "Causal",
    "Change",
    "CounterMap",
    "Flag",
    "GCounter",
    "GSet",
    "Kind",
    "LWWRegister",
    "MVRegister",
    "MultiMap",
    "ORMap",
    "ORSet",
    "PNCounter",
    "RegisterMap",
    "Value",
    "Vote",
    "Writer",
    "decode",
    "encode",
    "kind_of",
]
