"""The cart of the README, with its tests."""
