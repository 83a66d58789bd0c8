"""Facts about this machine: its processes, CPU load, memory and EC2 identity."""
