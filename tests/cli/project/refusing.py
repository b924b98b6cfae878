"""A service that can be checked, but not run: its module refuses in a node's process."""

from __future__ import annotations

import sys

from eventmill import Service

if "run" in sys.argv:
    raise RuntimeError("refused to be imported in a node")

service = Service("refusing")
