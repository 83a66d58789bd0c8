"""What several tests lean on: a Slack that answers as it is told, and waiting without sleeping blindly."""
