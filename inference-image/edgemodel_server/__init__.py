"""The inference server: one model folder in, predictions over HTTP and gRPC out.

What it serves, and how it computes:

* ``folder``        the model folder, checked against its card
* ``ort``           the only import of ONNX Runtime, with its telemetry off
* ``engine``        the session: load, run tensors through the model, stop
* ``warm_up``       the first runs, and what they show: times, batches that pay, rows that are independent
* ``batching``      which of the waiting requests to compute next, and how to split a large one
* ``estimates``     how long an inference takes and a new one would wait
* ``jobs``          requests in the queue and the batches they form
* ``scheduler``     bounded queue with deadlines, and threads, in front of the engine
* ``site``          large requests spread over the site's replicas
* ``peers``         who the other replicas are
* ``parts``         parts of requests on their way there and back
* ``exchange``      HTTP as a client
* ``cpus``          CPU quota of the container → threads and workers

What clients say:

* ``datatypes``     names of element types in the protocol, in numpy and in ONNX Runtime
* ``shapes``        what a request says of a tensor, against what the model takes
* ``tensors``       JSON values ↔ numpy arrays
* ``raw``           raw bytes ↔ numpy arrays
* ``jsons``         JSON, strictly
* ``plain``         requests as most are: JSON of floats, read faster
* ``layouts``       JSON before raw bytes that was read before
* ``protocol``      Open Inference Protocol v2: request bytes → tensors, tensors → response bytes
* ``classification`` an output as its largest values, with index and label
* ``configuration`` how the model is served, as Triton's clients ask for it
* ``forms``         multipart form → uploaded images
* ``images``        image bytes → input tensor
* ``classifier``    output tensor → labels and probabilities

HTTP, gRPC, and the process:

* ``calls``         a request and its answer, as the inference endpoints see them
* ``coding``        gzip and deflate, bounded
* ``bodies``        request bodies, bounded in bytes and time
* ``waiting``       for a result as long as the client does
* ``inference``     POST …/infer
* ``predict``       POST /predict
* ``keys``          who may send requests, and how many
* ``access``        the access log
* ``app``           the HTTP applications: the one for users, the one for probes and scrapers
* ``page``          what people see in a browser
* ``http_service``  connections, the requests on them, and the server that listens
* ``grpc_service``  gRPC
* ``tls``           certificates, read again when they change
* ``watching``      notices when the files of a folder change
* ``metrics``       Prometheus
* ``tracing``       OpenTelemetry, where the environment asks for it
* ``spans``         the only import of its SDK
* ``histograms``    that cost next to nothing to observe
* ``service``       what is served and in which state: starting, ready, draining
* ``settings``      environment variables → Settings
* ``process``       listen, load, drain

Decoding and encoding, inference (``scheduler``) and transport (``app``, ``grpc_service``) meet only in plain numpy
arrays.
"""
