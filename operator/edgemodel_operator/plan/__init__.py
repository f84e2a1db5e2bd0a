"""The decisions: what there should be, given what there is. Pure.

* ``plan``    what to apply, to delete and to say of one EdgeModel
* ``policy``  a decision per file
* ``status``  the figures, the verdict and the conditions that carry it
"""
