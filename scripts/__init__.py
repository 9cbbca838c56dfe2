"""What the Makefile runs: locks, the embedded installation, the demo, generated documents."""
