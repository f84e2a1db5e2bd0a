"""The Open Inference Protocol over gRPC: ``inference.GRPCInferenceService``, with health and reflection.

* ``open_inference``  the protocol; ``…_pb2`` is generated from it (``make protos``)
* ``messages``        request messages → tensors, tensors → response messages
* ``contents``        typed contents ↔ numpy arrays
* ``methods``         the calls
* ``server``          ports, limits, credentials, drain
"""
