"""Long runs of random input, beside the bounded ones of the unit tests: ``make fuzz-…``."""
