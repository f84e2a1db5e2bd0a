"""Which operators integers help on a CPU, as ONNX Runtime's kernels and fusions stand."""

from collections.abc import Container

from onnx import NodeProto

WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
"""They multiply with weights: size and speed are won here."""

CARRIERS = (
    "Add",
    "AveragePool",
    "Clip",
    "Concat",
    "Flatten",
    "Gather",
    "GlobalAveragePool",
    "LeakyRelu",
    "MaxPool",
    "Mul",
    "Pad",
    "Relu",
    "Reshape",
    "Resize",
    "Slice",
    "Split",
    "Squeeze",
    "Transpose",
    "Unsqueeze",
)
"""They have integer kernels, or need none, and so keep integers from being widened between two weighted operators.

Softmax and the norms are left out: they would be computed in float between two conversions. So are products of two
activations: they cost accuracy, and there is no weight to be saved.
"""

INTEGER_OPERATORS = frozenset(
    {
        "ConvInteger",
        "DequantizeLinear",
        "DynamicQuantizeLSTM",
        "GatherBlockQuantized",
        "MatMulInteger",
        "MatMulNBits",
        "QAttention",
        "QEmbedLayerNormalization",
    }
)


def weighted(node: NodeProto, constants: Container[str]) -> bool:
    """Whether ``node`` multiplies with a weight of its own, one of ``constants``."""
    if node.op_type not in WEIGHTED or len(node.input) < 2:
        return False
    return node.input[1] in constants or (node.op_type in ("Gemm", "MatMul") and node.input[0] in constants)
