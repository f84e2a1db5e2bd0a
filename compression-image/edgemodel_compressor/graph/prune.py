"""Magnitude pruning, W_pruned = W × M: the weights nearest to zero become zero (Han et al., 2015)."""

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

from edgemodel_compressor.errors import NotApplicableError
from edgemodel_compressor.graph.weights import float_weights
from edgemodel_contract.task import Pruning


def keep_mask(magnitudes: NDArray[np.floating], sparsity: float) -> NDArray[np.bool_]:
    """M as a flat array: False for exactly ``round(sparsity × n)`` of the smallest ``magnitudes`` (n,).

    Of equal magnitudes the first ones go, so that the mask is the same on every run.
    """
    count = round(sparsity * magnitudes.size)
    keep = np.ones(magnitudes.size, np.bool_)
    if count:
        threshold = np.partition(magnitudes, count - 1)[count - 1]
        keep[magnitudes < threshold] = False
        ties = np.flatnonzero(magnitudes == threshold)
        keep[ties[: count - int(np.count_nonzero(~keep))]] = False
    return keep


def prune(model: onnx.ModelProto, pruning: Pruning) -> None:
    """Zero ``pruning.sparsity`` of the weights of ``model``, in place: over all together, or in each tensor.

    Raises:
        NotApplicableError: there is no weight to prune.
    """
    tensors = list(float_weights(model.graph).values())
    if not tensors:
        raise NotApplicableError("it has no Conv, Gemm or MatMul weights of its own to prune")
    magnitudes = [np.abs(numpy_helper.to_array(tensor)).ravel() for tensor in tensors]
    if pruning.scope == "Global":
        together = keep_mask(np.concatenate(magnitudes), pruning.sparsity)
        masks = np.split(together, np.cumsum([values.size for values in magnitudes])[:-1])
    else:
        masks = [keep_mask(values, pruning.sparsity) for values in magnitudes]
    for tensor, mask in zip(tensors, masks, strict=True):
        _multiply(tensor, mask)


def _multiply(tensor: TensorProto, mask: NDArray[np.bool_]) -> None:
    weights = numpy_helper.to_array(tensor)
    # where() and not a product: a negative weight times zero would leave -0.0, which compresses worse.
    masked = np.where(mask.reshape(weights.shape), weights, np.zeros((), weights.dtype))
    tensor.CopyFrom(numpy_helper.from_array(masked, tensor.name))
