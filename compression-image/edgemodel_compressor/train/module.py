"""An ONNX graph as a torch module, so that gradients flow through exactly what will be served."""

from collections.abc import Sequence

from onnx import ModelProto, inliner
from torch import Tensor, nn

from edgemodel_compressor.graph.weights import constants
from edgemodel_compressor.train.dtypes import to_torch
from edgemodel_compressor.train.parameters import trainable
from edgemodel_compressor.train.program import compile_graph


class GraphModule(nn.Module):
    """Runs a float ONNX graph, and differentiates it by its weights.

    Running statistics, masks and the numbers of formulas are constants. What depends on constants alone is calculated
    once, here.

    Raises:
        NotApplicableError: the graph has an operator, or a form of one, that is not supported; it names the node.
    """

    weights: dict[str, nn.Parameter]
    """Parameters by the names of their initializers or Constant nodes. nn.Module itself takes no names with dots."""
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    def __init__(self, proto: ModelProto, outputs: Sequence[str] | None = None) -> None:
        """``outputs`` names the tensors to return, of any node; those of the graph where it is left out."""
        super().__init__()
        tensors = trainable(proto.graph)
        if proto.functions:
            proto = inliner.inline_local_functions(proto)
        initializers = constants(proto.graph)
        self.inputs = tuple(value.name for value in proto.graph.input if value.name not in initializers)
        self.outputs = tuple(outputs if outputs is not None else (value.name for value in proto.graph.output))
        self.weights = {name: nn.Parameter(to_torch(tensor)) for name, tensor in tensors.items()}
        self._registered = nn.ParameterList(self.weights.values())
        self._program = compile_graph(proto, self.inputs, self.outputs, self.weights)

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """The tensors of ``self.outputs`` for ``inputs`` in the order of ``self.inputs``."""
        return self._program.run(inputs)
