"""Structured pruning: channels, neurons, attention heads and feed-forward units go, with all that depends on them; and
whole residual branches.

``analyse`` finds the groups, ``magnitude``, ``taylor`` or ``activation`` rates their units, ``select`` decides, and
``mask`` or ``remove`` does it: the first by zeros, the second by smaller tensors, with the same outputs.

To read it: ``labels`` and ``walk`` have the idea, ``operators`` says what each operator does with it, ``analysis`` what
comes of it, ``stated_sizes`` how the sizes that a graph states are updated, ``importance`` which units matter.
``branches`` and ``influence`` are about depth, and stand by themselves.
"""

from edgemodel_compressor.graph.structure.analysis import NOTHING, Analysis, Group, Slice, analyse
from edgemodel_compressor.graph.structure.apply import mask, remove
from edgemodel_compressor.graph.structure.branches import Branch, residual_branches, without
from edgemodel_compressor.graph.structure.importance.activation import activation
from edgemodel_compressor.graph.structure.importance.scores import Scores, magnitude, taylor
from edgemodel_compressor.graph.structure.influence import influence, least
from edgemodel_compressor.graph.structure.selection import Scope, Selection, channels_left, select

__all__ = [
    "NOTHING", "Analysis", "Branch", "Group", "Scope", "Scores", "Selection", "Slice", "activation", "analyse",
    "channels_left", "influence", "least", "magnitude", "mask", "remove", "residual_branches", "select", "taylor",
    "without",
]  # fmt: skip
