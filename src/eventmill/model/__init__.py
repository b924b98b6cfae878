"""Pure data: what travels the road and what is stored. Imports nothing above it."""
