"""Record a run in the process that runs it."""
