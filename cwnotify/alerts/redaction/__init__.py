"""Remove secrets from events before anything stores or sends them. Pure."""
