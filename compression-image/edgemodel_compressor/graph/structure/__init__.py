"""Structured pruning: channels, neurons, attention heads and feed-forward units go, with all that depends on them.

``analyse`` finds the groups, ``magnitude``, ``taylor`` or ``activation`` rates their units, ``select`` decides, and
``mask`` or ``remove`` does it: the first by zeros, the second by smaller tensors, with the same outputs.

To read it: ``labels`` and ``walk`` have the idea; ``elementwise``, ``layers``, ``layout``, ``reshape`` and ``sizes``
say what each operator does with it (``operators`` is the table), ``analysis`` what comes of it, ``mend`` how the sizes
that a graph states are corrected.
"""

from edgemodel_compressor.graph.structure.activation import activation
from edgemodel_compressor.graph.structure.analysis import Analysis, Group, Slice, analyse
from edgemodel_compressor.graph.structure.apply import mask, remove
from edgemodel_compressor.graph.structure.importance import Scores, magnitude, taylor
from edgemodel_compressor.graph.structure.selection import Scope, Selection, channels_left, select

__all__ = [
    "Analysis", "Group", "Scope", "Scores", "Selection", "Slice", "activation", "analyse", "channels_left", "magnitude",
    "mask", "remove", "select", "taylor",
]  # fmt: skip
