"""Whether rows of a batch are independent, from the model's graph alone.

* ``proof``    the batch followed through every operator
* ``rules``    how each operator treats it
* ``tensors``  what is known of a tensor
* ``sizes``    sizes as expressions of the number of rows
* ``graph``    the graph in an ONNX file
* ``wire``     protobuf, read where it lies
"""
