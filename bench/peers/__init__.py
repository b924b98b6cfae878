"""What a Python developer would use instead, each in an environment of its own under `.bench/`."""
