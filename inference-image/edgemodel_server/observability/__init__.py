"""What the server says of itself.

* ``metrics``        Prometheus
* ``histograms``     that cost next to nothing to observe
* ``access_log``     a line for each request
* ``logs``           JSON lines
* ``tracing``        the request that is traced, as the rest of the server sees it
* ``tracing_setup``  traces are on where the environment asks for them
* ``spans``          the only import of OpenTelemetry's SDK
"""
