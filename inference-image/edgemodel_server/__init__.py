"""The inference server: one model folder in, predictions over HTTP out.

* ``settings``   environment variables → Settings
* ``cpus``       CPU quota of the container → threads and workers
* ``folder``     the model folder, checked against its card
* ``ort``        the only import of ONNX Runtime, with its telemetry off
* ``engine``     the session: load, warm up, run tensors through the model
* ``datatypes``  names of element types in the protocol, in numpy and in ONNX Runtime
* ``tensors``    JSON values ↔ numpy arrays
* ``protocol``   Open Inference Protocol v2: request bytes → tensors, tensors → response bytes
* ``forms``      multipart form → uploaded images
* ``images``     image bytes → input tensor
* ``classifier`` output tensor → label and probability
* ``scheduler``  bounded queue and threads in front of the engine
* ``bodies``     request bodies, bounded in bytes and time
* ``metrics``    Prometheus
* ``service``    what is served and in which state: starting, ready, draining
* ``page``       what people see in a browser
* ``app``        HTTP routes
* ``process``    listen, load, drain

Decoding and encoding (``protocol``, ``forms``, ``images``), inference (``scheduler``, ``engine``) and HTTP (``app``)
meet only in plain numpy arrays, so that another transport or a batching scheduler replaces one of the three.
"""
