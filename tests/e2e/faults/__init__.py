"""The fault bench: real kernels and sidecars, a faulty Slack and a faulty AWS, and one table of the results.

::

    python -m tests.e2e.faults [--long] [NAME...]

Each fault is a function that returns a `bench.FaultResult`. `bench.FaultScenario` counts its alerts. Every fault must
keep `bench.FaultResult.has_passed`: each alert is delivered, none is false, and only a crash may duplicate one.
``tests/e2e/test_faults.py`` runs the short faults.
"""
