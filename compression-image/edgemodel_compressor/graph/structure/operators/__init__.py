"""What each operator does with the dimensions of its inputs, a file per family; ``table`` has them all."""
