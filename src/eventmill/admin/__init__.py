"""Reading and operating a node: its own port, loopback by default."""
