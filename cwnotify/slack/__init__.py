"""Talk to Slack: where to send, how to send, and what to do after an attempt."""
