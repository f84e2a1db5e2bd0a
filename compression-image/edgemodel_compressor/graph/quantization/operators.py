"""Which operators integers help on a CPU, as ONNX Runtime's kernels and fusions stand."""

from collections.abc import Collection, Container, Sequence

from onnx import NodeProto

DOMAIN = "com.microsoft"
"""Of the operators that are ONNX Runtime's own, some of them named like ONNX's."""

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

ARITHMETIC = ("Add", "Concat", "Mul")
"""Carriers that round anew, and so lose precision of their own: residual connections, above all."""

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


def channel_axis(node: NodeProto, rank: int) -> int:
    """The axis of output channels in the weight of ``node``, which has ``rank`` axes."""
    if node.op_type == "ConvTranspose":
        return 1
    if node.op_type == "Conv":
        return 0
    transposed = any(item.name == "transB" and item.i for item in node.attribute)
    return 0 if transposed else rank - 1


def idle_carriers(nodes: Sequence[NodeProto], quantized: Collection[str]) -> list[str]:
    """The names of carriers from which no path over other carriers leads to one of the nodes named in ``quantized``.

    Between float operators they would only add conversions and noise. Carriers that are not to be quantized are not
    among ``nodes``.
    """
    touching: dict[str, list[NodeProto]] = {}
    for node in nodes:
        if node.op_type in CARRIERS or node.name in quantized:
            for name in {*node.input, *node.output} - {""}:
                touching.setdefault(name, []).append(node)
    reached = {node.name for node in nodes if node.name in quantized}
    front = [node for node in nodes if node.name in reached]
    while front:
        node = front.pop()
        for name in (*node.input, *node.output):
            for other in touching.get(name, ()):
                if other.name not in reached:
                    reached.add(other.name)
                    front.append(other)
    return [node.name for node in nodes if node.op_type in CARRIERS and node.name not in reached]
