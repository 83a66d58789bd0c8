"""What a panel shows, without I/O."""
