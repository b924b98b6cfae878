"""The other side of `processes.isolated`: call one function, print the sample it returns as JSON."""

from __future__ import annotations

import importlib
import json
import sys

import msgspec


def main() -> None:
    """Run `python -m bench.child module:function '{"argument": 1}'`."""
    module, _, name = sys.argv[1].partition(":")
    function = getattr(importlib.import_module(module), name)
    sample = function(**json.loads(sys.argv[2]))
    print(msgspec.json.encode(sample).decode())


if __name__ == "__main__":
    main()
