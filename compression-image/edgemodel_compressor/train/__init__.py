"""Training of an ONNX graph in torch: recovery after pruning, and the gradients that importance needs.

Only this package imports torch, and importing the package itself does not: ask for what is needed where it is needed.

* ``plan``        what is asked and what came of it; no torch
* ``network``     the graph as a ``torch.nn.Module``, and which of its tensors are trained
* ``batches``     many samples at once, also where the graph was exported for one
* ``objective``   the losses: labels, float targets, the original's outputs
* ``shifting``    more images than there are, where the original answers them
* ``holdout``     the part that says when to stop
* ``correct``     the original's channel statistics, before any gradient
* ``recover``     the training loop
* ``gradients``   mean gradients by weight
"""
