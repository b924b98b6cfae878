"""The store in memory: the model that all other stores are held against, and the tests' double."""
