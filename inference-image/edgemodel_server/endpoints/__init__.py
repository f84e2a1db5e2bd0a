"""What the inference endpoints do, whatever carries the request.

* ``inference``  POST …/infer
* ``predict``    POST /predict
* ``configuration``  how the model is served, as Triton's clients ask for it
* ``waiting``    for a result as long as the client does
"""
