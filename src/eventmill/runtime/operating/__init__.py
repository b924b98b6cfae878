"""Operating: what people and programs may see of a running node, and do to it."""
