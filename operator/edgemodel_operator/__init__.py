"""The EdgeModel operator: observe → plan (pure) → apply.

* ``api``        the EdgeModel resource as typed structs; ``api.crd`` turns them into the CustomResourceDefinition
* ``settings``   what the installation decides, from environment variables
* ``observed``   what the watch caches say about one EdgeModel and the nodes
* ``plan``       every decision: ``plan(model, observed, settings, now) -> Plan``, the policies and the status
* ``manifests``  every object the operator applies, one builder file per kind
* ``kube``       the Kubernetes client and the watch cache
* ``runtime``    workers, queue, scraper, own metrics
* ``handlers``   the only file that knows kopf: watch events mark keys dirty
"""
