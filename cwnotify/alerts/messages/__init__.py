"""Events to Block Kit messages. Pure."""
