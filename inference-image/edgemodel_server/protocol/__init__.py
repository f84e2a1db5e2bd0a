"""The Open Inference Protocol v2 between bytes and numpy arrays, whatever carries the bytes.

* ``open_inference`` request bytes → tensors, tensors → response bytes
* ``datatypes``      names of element types in the protocol, in numpy and in ONNX Runtime
* ``bfloat16``       the datatype that numpy does not have
* ``shapes``         what a request says of a tensor, against what the model takes
* ``tensors``        JSON values ↔ numpy arrays
* ``raw``            raw bytes ↔ numpy arrays
* ``jsons``          JSON, strictly
* ``long_lists``     JSON that is long because of lists of numbers, piece by piece
* ``memory``         what may be taken of the server's memory
* ``plain``          requests as most are: JSON of floats, read faster
* ``layouts``        JSON before raw bytes that was read before
* ``classification`` an output as its largest values, with index and label
* ``calls``          a request and its answer, as the endpoints see them
* ``bodies``         request bodies, bounded in bytes and time
* ``coding``         gzip and deflate, bounded
"""
