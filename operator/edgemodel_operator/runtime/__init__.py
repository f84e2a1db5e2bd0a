"""The running operator.

* ``controller``  workers that reconcile the keys of the queue
* ``applier``     carries a plan out
* ``queue``       a de-duplicating, rate-limited work queue
* ``lease``       whose turn it is, of several operators: the decision
* ``leadership``  the same against an API server
* ``scraper``     latency histograms, from pods or from Prometheus
* ``metrics``     the operator's own metrics
"""
