"""What was tried and what came of it, as JSON for programs and as one HTML page for people."""
