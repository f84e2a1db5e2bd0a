"""The decisions: what there should be, given what there is. Pure.

* ``plan``      all of it, of one EdgeModel
* ``context``   what every part looks at
* ``sites``     how each site does, and what it should be
* ``children``  what to apply, to scale and to delete
* ``policy``    a decision per file
* ``status``    the figures, the verdict and the conditions that carry it
"""
