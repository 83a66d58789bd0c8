"""AWS and Slack on this machine, for trying cwnotify out without either."""
