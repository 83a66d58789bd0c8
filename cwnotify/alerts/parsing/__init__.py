"""Read what AWS sends into events. Pure. Never raises, whatever the input is."""
