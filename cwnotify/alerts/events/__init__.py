"""Events that alerts report, as frozen dataclasses. Pure."""
