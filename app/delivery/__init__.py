"""Events delivered to others: an outbox on disk, and what carries events out of it."""
