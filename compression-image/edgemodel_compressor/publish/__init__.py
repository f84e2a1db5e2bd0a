"""The result as one reproducible layer on the inference image.

* ``card``   the model card
* ``push``   layer, manifest and tag to the registry
"""
