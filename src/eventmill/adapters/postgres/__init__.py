"""The shared store: PostgreSQL through asyncpg, for many nodes on one journal."""
