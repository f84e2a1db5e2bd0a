"""Fewer bits per weight and activation: dynamic and static INT8, weight-only INT8 and INT4, FP16 storage.

``apply.quantize`` carries out a recipe; the rest is a part of that, or decides on one (``sensitivity``, ``mixed``).
"""
