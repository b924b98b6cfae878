"""What a service's parts are and how they are connected, read from definitions and source code."""
