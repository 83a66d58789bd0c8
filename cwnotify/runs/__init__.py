"""Record runs in the user's process: cells, `notify` blocks and commands."""
