"""The state directory and the SQLite outbox. All SQL is in this package, each statement in one place."""
