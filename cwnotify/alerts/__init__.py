"""What happened, and the messages that Slack shows for it.

Pure: no I/O and no clock; time is an argument. Imports the standard library, `cwnotify.errors` and this package.
The Lambda function ships this package, its handler, and the modules of `slack` that it sends with.
"""
