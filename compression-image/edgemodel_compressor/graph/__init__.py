"""Changes to a model's graph and weights: pruning, quantization, and the sparsity that is left."""
