"""How much a unit matters, and what the model saves without it."""
