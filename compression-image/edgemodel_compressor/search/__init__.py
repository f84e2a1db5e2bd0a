"""Which compressions are tried, and which one is chosen.

* ``engine``             the sequence: measure the original, try, time, choose
* ``proposals``          pure: what to try next
* ``candidates``         methods, and what was measured of them
* ``candidate_builder``  builds the model file of a method
* ``evaluation``         a candidate built, judged and measured
* ``choose``             pure: which candidate, or why none
* ``pareto``             pure: which candidates nobody beats
"""
