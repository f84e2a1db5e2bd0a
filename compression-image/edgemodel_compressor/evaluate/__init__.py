"""What a model file is worth: quality, latency, memory.

* ``evaluator``   quality against the original
* ``confidence``  how far a share of few samples can be trusted
* ``latency``     seconds per inference
* ``throughput``  inferences per second
* ``memory``      the peak of a process that serves the file
"""
