"""Convert events to Block Kit messages. Pure."""
