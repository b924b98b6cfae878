"""A cluster on this machine: its servers, its nodes as child processes, their logs in one place."""
