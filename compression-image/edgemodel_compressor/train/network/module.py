"""An ONNX graph as a torch module, so that gradients flow through exactly what will be served."""

from collections.abc import Sequence

from onnx import ModelProto, inliner
from torch import Tensor, nn

from edgemodel_compressor.graph.weights import constants
from edgemodel_compressor.train.network.dtypes import to_torch
from edgemodel_compressor.train.network.operators import OPERATORS
from edgemodel_compressor.train.network.operators.normalization import batch_in_training
from edgemodel_compressor.train.network.parameters import running_statistics, trainable
from edgemodel_compressor.train.network.program import compile_graph


class GraphModule(nn.Module):
    """Runs a float ONNX graph, and differentiates it by its weights.

    Masks and the numbers of formulas are constants; what depends on constants alone is calculated once, here. The
    module starts in eval mode, in which running statistics are constants, too. In training mode batch norms go by their
    batch, and leave its statistics in place of the running ones.

    Raises:
        NotApplicableError: the graph has an operator, or a form of one, that is not supported; it names the node.
    """

    weights: dict[str, nn.Parameter]
    """Parameters by the names of their initializers or Constant nodes. nn.Module itself takes no names with dots."""
    statistics: dict[str, Tensor]
    """Running means and variances by name; empty where training mode would change none."""
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    def __init__(self, proto: ModelProto, outputs: Sequence[str] | None = None) -> None:
        """``outputs`` names the tensors to return, of any node; those of the graph where it is left out."""
        super().__init__()
        parameters, statistics = trainable(proto.graph), running_statistics(proto.graph)
        if proto.functions:
            proto = inliner.inline_local_functions(proto)
        initializers = constants(proto.graph)
        self.inputs = tuple(value.name for value in proto.graph.input if value.name not in initializers)
        self.outputs = tuple(outputs if outputs is not None else (value.name for value in proto.graph.output))
        self.weights = {name: nn.Parameter(to_torch(tensor)) for name, tensor in parameters.items()}
        self.statistics = {name: to_torch(tensor) for name, tensor in statistics.items()}
        self._registered = nn.ParameterList(self.weights.values())
        variable = {**self.weights, **self.statistics}
        self._program = compile_graph(proto, self.inputs, self.outputs, variable)
        self._training_program = self._program
        if statistics:
            operators = {**OPERATORS, "BatchNormalization": batch_in_training}
            self._training_program = compile_graph(proto, self.inputs, self.outputs, variable, operators)
        self.eval()

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """The tensors of ``self.outputs`` for ``inputs`` in the order of ``self.inputs``."""
        return (self._training_program if self.training else self._program).run(inputs)
