"""Replicated entities at run time: local turns, a log of deltas, and what keeps the log short.

    replicas     the turns: changes a replica in memory, puts its delta into the commit
    log          reads the deltas of all nodes, in the order of the store, into the replicas in memory
    compactor    joins deltas into stored states, one entry per entity; trims the log
    actors       which number this node makes dots under, fenced as a shard's owner is
    spreading    carries deltas to the other nodes, and counts who has them
    replication  puts these together

Why so: docs/adr/0023-replicated-entities.md.
"""
