"""The facts that an alert reports, as frozen dataclasses."""
