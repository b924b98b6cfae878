"""PROJECT_NAME: a service on Eventmill."""
