"""Server programs out of PyPI wheels: what a cluster on one machine, and tests, run on."""
