"""The model: its folder, its session in ONNX Runtime, and what the first runs show.

* ``folder``   the model folder, checked against its card
* ``bare``     an ONNX file without a card, which is made from it
* ``ort``      the only import of ONNX Runtime, with its telemetry off
* ``engine``   the session: load, run tensors through the model, stop
* ``warm_up``  the first runs, and what they show: times and batches that pay
* ``independence``  whether requests may share a run, proved from the graph
* ``rows``     that proof
* ``cpus``     CPU quota of the container → threads and workers
"""
