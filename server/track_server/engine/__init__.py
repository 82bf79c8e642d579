"""The engine: one writer, group commit, fair queues, recovery."""
