"""Large requests spread over the site's replicas.

* ``site``      which part goes where, and the answer put together again
* ``peers``     who the other replicas are
* ``parts``     parts of requests on their way there and back
* ``exchange``  HTTP as a client
"""
