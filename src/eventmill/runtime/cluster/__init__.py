"""The cluster: this node among the others of its service, and other services by their names."""
