"""Local stand-ins for AWS and Slack, to try cwnotify without an account."""
