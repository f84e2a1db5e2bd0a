"""An ONNX graph as a torch module; ``operators`` has a file per family."""
