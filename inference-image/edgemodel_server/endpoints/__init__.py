"""What the inference endpoints do, whatever carries the request.

* ``inference``  POST …/infer
* ``predict``    POST /predict
* ``waiting``    for a result as long as the client does
"""
