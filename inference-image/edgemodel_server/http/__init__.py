"""HTTP/1.1: connections, the requests on them, and the server that listens; and the application that answers them.

* ``app``              every request from its arrival to its end: key, route, error, metrics, access log
* ``routes``           every route of the REST API
* ``server``           listeners, the connections they took, and their end
* ``connection``       bytes ↔ requests and answers, one after the other
* ``connection_lease`` what a connection counts in the server's budget
* ``answer_writer``    the sending half: what the client has not taken yet
* ``parsing``          heads and chunks
* ``head_cache``       heads that were parsed before
* ``body_sink``        large bodies, from the socket to where they are wanted
* ``stream``           one request and its answer as ASGI sees them
* ``shared``           what the connections of a server have in common
* ``wire``             how a request looks that was read, and an answer that is written
"""
