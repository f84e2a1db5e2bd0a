"""The EdgeModel operator: observe → plan (pure) → apply.

* ``api``         the EdgeModel resource as typed structs; ``crd`` turns them into the CustomResourceDefinition
* ``settings``    what the installation decides, from environment variables
* ``observed``    what the watch caches say about one EdgeModel and the nodes
* ``policy``      every decision, one small pure file each
* ``manifests``   every object the operator applies, one builder file per kind
* ``conditions``  the status conditions and their reasons
* ``status``      the whole status from the decisions
* ``reconcile``   ``plan(model, observed, settings, now) -> Plan``
* ``cluster``     the only file that speaks to the Kubernetes API
* ``store``, ``queue``, ``latency``, ``metrics``  watch cache, work queue, scraper, own metrics and health
* ``controller``  workers: take a key, observe, plan, carry out
* ``handlers``    the only file that knows kopf: watch events mark keys dirty
"""
