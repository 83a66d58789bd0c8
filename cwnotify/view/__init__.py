"""What a panel shows: its data, texts, HTML, CSS and plot. No I/O."""
