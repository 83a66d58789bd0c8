"""The fault bench: real kernels and sidecars, a Slack and an AWS that misbehave, and one table of what came of it.

::

    python -m tests.e2e.faults [--long] [NAME...]

Each fault is a function that gives a `bench.Found`; `bench.Stage` counts for it. What every fault must keep is
`bench.Found.keeps`: each alert delivered, none false, and none doubled but by a crash. ``tests/e2e/test_faults.py``
runs the short ones.
"""
