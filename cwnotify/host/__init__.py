"""This machine: its processes, load and memory."""
