"""A pipeline of discrete steps over flight reports that come late and out of order: see README.md."""
