"""What the server says of itself.

* ``metrics``     Prometheus
* ``histograms``  that cost next to nothing to observe
* ``access_log``  a line for each request
* ``logs``        JSON lines
* ``tracing``     OpenTelemetry, where the environment asks for it
* ``spans``       the only import of its SDK
"""
