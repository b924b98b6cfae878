"""The command line: one module per command. What they share is in `surface`."""
