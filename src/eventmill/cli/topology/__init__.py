"""Showing a topology, and whether it fits what is stored."""
