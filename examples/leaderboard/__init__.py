"""The backend of a game: players that are on every node, live scores."""
