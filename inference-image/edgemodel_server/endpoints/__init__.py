"""What the endpoints do, whatever carries the request.

* ``handling``       key, rate, form of errors, metrics and access log of every request
* ``routes``         which requests an endpoint of the REST API is for
* ``inference``      POST …/infer
* ``predict``        POST /predict
* ``metadata``       GET: readiness, metadata, metrics
* ``configuration``  how the model is served, as Triton's clients ask for it
* ``running``        a request from its bytes to the model's arrays
* ``waiting``        for a result as long as the client does
"""
