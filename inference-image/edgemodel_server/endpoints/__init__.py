"""What the inference endpoints do, whatever carries the request.

* ``inference``  POST …/infer
* ``predict``    POST /predict
* ``configuration``  how the model is served, as Triton's clients ask for it
* ``running``    a request from its bytes to the model's arrays
* ``handling``   key, rate, metrics and access log of every request
* ``waiting``    for a result as long as the client does
"""
