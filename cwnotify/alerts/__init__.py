"""What happened, and what Slack should say of it.

Pure: no I/O, no clock, no imports but the standard library, `cwnotify.errors` and this package.
Time is an argument. The Lambda function ships this package and nothing else of ours beside its handler.
"""
