"""The Open Inference Protocol over gRPC: ``inference.GRPCInferenceService``, with health and reflection.

What is said:

* ``open_inference``  the protocol; ``…_pb2`` is generated from it (``make protos``)
* ``messages``        request messages → tensors, tensors → response messages
* ``contents``        typed contents ↔ numpy arrays
* ``methods``         the calls
* ``standard``        health and reflection

How it is said. It is an HTTP/2 of our own because gRPC's library for Python takes four times what all else of a small
inference does, most of it for its second thread:

* ``frames``          HTTP/2 in bytes
* ``reading``         what comes → whole frames
* ``headers``         its header blocks
* ``stream``          one stream: what waits to be sent
* ``connection``      one client's connection: frames to streams, flow control, bounds, the end
* ``call``            gRPC on a stream: messages, compression, timeouts, statuses
* ``eager``           coroutines without tasks where they do not wait
* ``server``          port, credentials, drain
"""
