"""Remove secrets from events before they are stored or sent. Pure."""
