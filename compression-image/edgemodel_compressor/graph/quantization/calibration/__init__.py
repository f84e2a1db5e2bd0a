"""What the calibration samples say of each tensor: seen once, kept as histograms, turned into ranges."""
