"""What commands share: finding a node, showing answers, exit codes."""
