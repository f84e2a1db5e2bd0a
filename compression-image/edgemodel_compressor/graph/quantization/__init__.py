"""Fewer bits per weight and activation: dynamic and static INT8, weight-only INT8 and INT4, FP16 storage.

``apply.quantize`` carries out a recipe. ``methods`` has a file per way to store weights, ``calibration`` finds the
ranges of activations, and ``mixed_precision`` decides which nodes stay in float.
"""
