"""Health, readiness and metrics on a port of their own, answered by a process of its own.

* ``responder``  that process: a program of the standard library alone
* ``channel``    how the server tells it its state
* ``process``    starts it, and again where it ended
"""
