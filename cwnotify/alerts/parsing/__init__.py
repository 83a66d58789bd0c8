"""JSON from AWS to events. Pure; never raises."""
