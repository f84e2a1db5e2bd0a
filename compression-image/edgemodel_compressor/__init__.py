"""The compression program: a trained model in, a smaller one out as ONNX, measured before and after.

Two faces on one engine: the Job that an EdgeModel starts (``job``), and the command line for a desk without a
cluster (``cli``). From the edge inwards:

* ``cli``, ``job``  the two programs
* ``fetch``         gets the model and the dataset: ``oci://``, ``https://``, ``http://``, ``pvc://``, a local path;
  unpacks what came packed, bounded
* ``formats``       makes ONNX of torch.export programs, TorchScript and transformers folders
* ``onnxmodel``     models as files, and checked
* ``data``          samples, and the disjoint parts that calibrate, recover and judge
* ``graph``         prunes and quantizes
* ``train``         recovers what pruning took; with ``formats`` alone knows torch
* ``evaluate``      quality, latency, memory of a model file
* ``search``        what to try next, and which candidate is chosen
* ``report``        what was tried, for programs and for people
* ``publish``       the result as one reproducible layer on the inference image
* ``registry``      plain registry HTTP
"""

import os

# ONNX Runtime reads it once, when it is loaded: this line has to come before every import of it.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
# OpenMP likewise, when torch is loaded. Threads that spin for long while they wait make training ten times slower where
# anything else runs, too; those that sleep at once make it half as fast where nothing does. So they spin for some
# microseconds, which is as long as the other threads usually take.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "2000")
