"""ONNX models as files and as checked models.

* ``model``          turns untrusted bytes into a checked model, or into one sentence that says what is wrong
* ``modelfile``      how models lie on the disk, those above protobuf's limit too
* ``external_data``  weights in files beside the model
* ``tensors``        inputs and outputs: names, types, shapes
* ``walk``           every graph, node and tensor of a model, those of its subgraphs too
* ``runtime``        ONNX Runtime sessions
* ``parallel``       work spread over threads
"""
