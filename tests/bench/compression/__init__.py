"""``make bench-compression``: edgemodel-compress beside onnxruntime, NNCF and torch-pruning."""
