"""The Open Inference Protocol over gRPC: ``inference.GRPCInferenceService``, with health and reflection.

grpcio speaks HTTP/2, in threads of its own; what is here is between the bytes of messages and the server.

* ``server``          port, credentials, limits, drain
* ``library``         grpcio's server, with what it lacks
* ``handlers``        gRPC's calls → the server's methods
* ``call``            one call: what came with it, how its end is told
* ``connections``     what clients hold while messages come and answers go
* ``sockets``         gRPC's sockets, by their other end
* ``methods``         the calls
* ``messages``        request messages → tensors, tensors → response messages
* ``large``           large messages: raw tensors where they lie, the rest charged before it is parsed
* ``contents``        typed contents ↔ numpy arrays
* ``standard``        health and reflection
* ``open_inference``  the protocol; ``…_pb2`` is generated from it (``make protos``)
"""
