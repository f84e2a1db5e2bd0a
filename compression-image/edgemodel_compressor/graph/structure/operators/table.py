"""Which rule speaks for which operator. What is not in this table is left whole, with all that it touches."""

from collections.abc import Callable, Mapping

from onnx import NodeProto

from edgemodel_compressor.graph.structure.operators import elementwise, layers, layout, recurrent, reshape, sizes
from edgemodel_compressor.graph.structure.walk import Walk

RULES: Mapping[str, Callable[[Walk, NodeProto], None]] = {
    **dict.fromkeys(elementwise.UNARY, elementwise.unary),
    **dict.fromkeys(elementwise.PARTIAL, elementwise.partial),
    **dict.fromkeys(elementwise.BROADCAST, elementwise.broadcast),
    **dict.fromkeys(("Div", "Pow"), elementwise.divide),
    **dict.fromkeys(elementwise.REDUCTIONS, elementwise.reduce),
    **dict.fromkeys(("Softmax", "LogSoftmax", "Hardmax"), elementwise.along),
    **dict.fromkeys(("LayerNormalization", "RMSNormalization"), elementwise.normalize),
    "Trilu": elementwise.last_two,
    **dict.fromkeys(layers.POOLS, layers.pool),
    **dict.fromkeys(("BatchNormalization", "InstanceNormalization"), layers.channel_norm),
    "GroupNormalization": layers.group_norm,
    "DepthToSpace": layers.depth_to_space,
    "SpaceToDepth": layers.space_to_depth,
    **dict.fromkeys(recurrent.GATES, recurrent.recurrent),
    "Attention": layers.attention,
    "Conv": layers.convolution,
    "ConvTranspose": layers.transposed_convolution,
    "Gemm": layers.gemm,
    "MatMul": layers.matmul,
    "Concat": layout.concat,
    "ConstantOfShape": layout.filled,
    "Expand": layout.expand,
    "Gather": layout.gather,
    "Pad": layout.pad,
    **dict.fromkeys(("Resize", "Upsample"), layout.resize),
    "Slice": layout.cut,
    "Split": layout.split,
    "Squeeze": layout.squeeze,
    "Transpose": layout.transpose,
    "Unsqueeze": layout.unsqueeze,
    "Flatten": reshape.flatten,
    "Reshape": reshape.reshape,
    "Constant": sizes.constant,
    "Shape": sizes.shape,
}
