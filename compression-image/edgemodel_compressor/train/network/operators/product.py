"""Products of matrices."""

import torch
from torch import Tensor
from torch.nn import functional

from edgemodel_compressor.train.network.node import Build, Node, Run, plain


def _gemm(node: Node) -> Run:
    alpha, beta = node.number("alpha", 1.0), node.number("beta", 1.0)
    transpose_a, transpose_b = node.flag("transA", False), node.flag("transB", False)
    unscaled = alpha == 1 and beta == 1

    def run(a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
        if transpose_a:
            a = a.t()
        if unscaled and (c is None or c.ndim == 1):
            return functional.linear(a, b if transpose_b else b.t(), c)
        if transpose_b:
            b = b.t()
        return alpha * (a @ b) if c is None else torch.addmm(c, a, b, beta=beta, alpha=alpha)

    return run


def _einsum(node: Node) -> Run:
    equation = node.text("equation", "")
    return lambda *tensors: torch.einsum(equation, *tensors)


OPERATORS: dict[str, Build] = {
    "Einsum": _einsum,
    "Gemm": _gemm,
    "MatMul": plain(torch.matmul),
}
