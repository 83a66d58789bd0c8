"""Helpers for several tests: stand-ins for Slack and AWS, real kernels and browsers, and waiting with a deadline."""
