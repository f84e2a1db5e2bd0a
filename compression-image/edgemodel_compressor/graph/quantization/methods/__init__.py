"""One way to store weights in fewer bits per file, and what belongs to it."""
