"""The inference server: one model folder in, predictions over HTTP and gRPC out.

* ``model``          the model folder, its session, its first runs
* ``scheduling``     queue, batches, deadlines
* ``protocol``       the Open Inference Protocol between bytes and numpy arrays
* ``images``         image in, label and probability out
* ``endpoints``      what the inference endpoints do
* ``fanout``         large requests spread over the site's replicas
* ``access``         API keys and TLS, and what each client may hold
* ``admin``          health and metrics on a port of their own, from a process of its own
* ``observability``  metrics, logs, traces
* ``http``           REST
* ``grpc``           gRPC
* ``page``           what people see in a browser
* ``service``        what is served and in which state: starting, ready, draining
* ``settings``       environment variables → Settings
* ``process``        listen, load, drain
* ``commandline``    a model on this machine, and what to say of it

Decoding and encoding, inference (``scheduling``) and transport (``http``, ``grpc``) meet only in plain numpy arrays.
"""
