"""The operators of ONNX in torch, a file per family. ``OPERATORS`` has them all by name."""

from collections.abc import Mapping

from edgemodel_compressor.train.network.node import Build
from edgemodel_compressor.train.network.operators import (
    activation,
    attention,
    convolution,
    creation,
    elementwise,
    indexing,
    layout,
    normalization,
    pooling,
    product,
    recurrent,
    reduction,
    resize,
)

OPERATORS: Mapping[str, Build] = {
    **activation.OPERATORS,
    **attention.OPERATORS,
    **convolution.OPERATORS,
    **creation.OPERATORS,
    **elementwise.OPERATORS,
    **indexing.OPERATORS,
    **layout.OPERATORS,
    **normalization.OPERATORS,
    **pooling.OPERATORS,
    **product.OPERATORS,
    **recurrent.OPERATORS,
    **reduction.OPERATORS,
    **resize.OPERATORS,
}
"""Operator of the default domain to what makes it runnable."""
