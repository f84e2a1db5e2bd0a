"""Samples.

* ``dataset``  reads samples, from the kinds of file in ``files``, and checks them against the model
* ``split``    the disjoint parts that calibrate, recover and judge
"""
