"""Schema care: what a service's JSON is, whether one release reads what another wrote, and what to do.

`typed` makes JSON Schemas of types, `fit` compares two, `contract` holds those of a service as one
file, `changes` compares a service with that file, `lifting` tries upcasters.
"""
