"""Where the programs of a native cluster come from."""
