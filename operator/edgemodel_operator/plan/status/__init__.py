"""What the status says. «Why does Ready say X?» is answered here.

* ``figures``     counts, sizes, digests, sites
* ``verdict``     which reason each condition has, and why
* ``conditions``  conditions as Kubernetes writes them
"""
