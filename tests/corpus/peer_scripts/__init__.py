"""What the peers run, in a virtual environment of their own."""
