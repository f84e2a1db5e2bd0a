"""HTTP/1.1: connections, the requests on them, and the server that listens.

* ``connection`` bytes ↔ requests and answers, within bounds
* ``rest``       large bodies, past the parser
* ``stream``     one request and its answer as ASGI sees them
* ``wire``       how a request looks that was read, and an answer that is written
* ``server``     listeners, the connections they took, and their end
"""
