"""The state directory and the SQLite outbox. All SQL is here."""
