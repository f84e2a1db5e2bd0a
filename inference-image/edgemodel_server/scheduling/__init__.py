"""Which request is computed when, and with which others.

* ``scheduler``  a bounded queue with deadlines, and threads, in front of the engine
* ``sharing``    which requests may share a run, and into which parts a large one is cut
* ``batching``   which of the waiting requests to compute next
* ``jobs``       requests in the queue and the batches they form
* ``estimates``  how long an inference takes and a new one would wait
"""
