"""AWS and Slack on this machine, for trying it all out without an account."""
