"""HTTP/1.1: connections, the requests on them, and the server that listens.

* ``connection`` bytes ↔ requests and answers, within bounds
* ``heads``      heads that were read before, past the parser
* ``rest``       large bodies, past the parser
* ``stream``     one request and its answer as ASGI sees them
* ``shared``     what the connections of a server have in common
* ``wire``       how a request looks that was read, and an answer that is written
* ``server``     listeners, the connections they took, and their end
"""
