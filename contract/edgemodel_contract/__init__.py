"""What crosses the borders between the operator, the compression Job and the inference server.

Plain typed structs and the few pure functions that both sides of a border must agree on. The package
imports nothing heavier than msgspec, so that the operator stays free of model libraries.

* ``base``      what structs have in common, and rules across their fields
* ``fields``    types that several parts of an EdgeModel have in common
* ``written``   how numbers are written in an EdgeModel, and back
* ``spec``      what of an EdgeModel's spec a compression depends on, and the task that it asks for
* ``task``      what the operator asks of a compression Job (ConfigMap → file ``task.json``)
* ``progress``  JSON lines that the Job writes to its log
* ``result``    what the Job answers in its termination message, at most 4 KiB
* ``card``      the model card that lies beside the model inside the image
* ``quantity``  ``8Mi``, ``10ms``, ``1%`` and back
* ``encoding``  the one JSON form used for files and digests
"""
