"""The public test kit: unit kits, an in-process host with a virtual clock, the store contract."""
