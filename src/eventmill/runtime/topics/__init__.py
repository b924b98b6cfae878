"""Topics: publishing, how long and how much is kept, and those that live in a broker."""
