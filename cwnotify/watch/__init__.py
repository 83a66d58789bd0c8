"""What the sidecar watches for panels: CloudWatch's datapoints and alarms, in rounds, in a thread of its own."""
