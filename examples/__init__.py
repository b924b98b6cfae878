"""Complete small services, each with its tests."""
