"""Matrix products, convolutions and pooling."""

from collections.abc import Mapping, Sequence

from edgemodel_server.model.rows.rules.elementwise import check_single
from edgemodel_server.model.rows.rules.shapes import Rule
from edgemodel_server.model.rows.sizes import AnySize, unknown
from edgemodel_server.model.rows.tensors import (
    Call,
    MixesError,
    Rows,
    Tensor,
    broadcast,
    by_rows,
    shared,
)


def product_of(one: Tensor, other: Tensor) -> Tensor:
    """What ``numpy.matmul`` makes of two tensors."""
    if one.rank == 0 or other.rank == 0:
        raise MixesError("multiplies a number as if it were a matrix")
    left = _reshaped(one, [1, *one.dimensions], 1) if one.rank == 1 else one
    right = _reshaped(other, [*other.dimensions, 1], 0) if other.rank == 1 else other
    result = _matrices(left, right)
    if one.rank == 1:
        result = _without(result, result.rank - 2)
    return _without(result, result.rank - 1) if other.rank == 1 else result


def _matrices(left: Tensor, right: Tensor) -> Tensor:
    for tensor, inner, name in ((left, left.rank - 1, "first"), (right, right.rank - 2, "second")):
        if tensor.rows is not None and tensor.rows.axis == inner:
            raise MixesError(f"sums over the rows of the batch, which are columns of the {name} factor")
        if tensor.is_sizes:
            raise MixesError("computes with the number of rows")
    # Dimensions but the last two are brought together; the result's last two come from one factor each.
    rows, columns = left.dimensions[-2], right.dimensions[-1]
    one = _framed(left, [rows, 1])
    other = _framed(right, [1, columns])
    return broadcast([one, other])


def _framed(tensor: Tensor, last: Sequence[AnySize]) -> Tensor:
    sizes = [*tensor.dimensions[:-2], *last]
    return shared(sizes) if tensor.rows is None else by_rows(sizes, tensor.rows)


def _reshaped(tensor: Tensor, sizes: Sequence[AnySize], moved: int) -> Tensor:
    return shared(sizes) if tensor.rows is None else by_rows(sizes, tensor.rows.at(tensor.rows.axis + moved))


def _without(tensor: Tensor, axis: int) -> Tensor:
    sizes = [size for place, size in enumerate(tensor.dimensions) if place != axis]
    if tensor.rows is None:
        return shared(sizes)
    return by_rows(sizes, tensor.rows if tensor.rows.axis < axis else tensor.rows.at(tensor.rows.axis - 1))


def matmul(call: Call) -> list[Tensor]:
    """Two matrices, or stacks of them."""
    return [product_of(call.input(0), call.input(1))]


def transposed(tensor: Tensor) -> Tensor:
    """Its last two dimensions in the other order."""
    sizes = list(tensor.dimensions)
    sizes[-2:] = sizes[-2:][::-1]
    if tensor.rows is None:
        return shared(sizes)
    last = {tensor.rank - 1: tensor.rank - 2, tensor.rank - 2: tensor.rank - 1}
    return by_rows(sizes, tensor.rows.at(last.get(tensor.rows.axis, tensor.rows.axis)))


def gemm(call: Call) -> list[Tensor]:
    """Two matrices and what is added to their product."""
    one, other = call.input(0), call.input(1)
    one = transposed(one) if call.attribute("transA", 0) else one
    other = transposed(other) if call.attribute("transB", 0) else other
    result = product_of(one, other)
    return [broadcast([result, call.input(2)]) if call.has(2) else result]


def fused_matmul(call: Call) -> list[Tensor]:
    """FusedMatMul: with factors transposed before."""
    if call.attribute("transBatchA", 0) or call.attribute("transBatchB", 0):
        raise MixesError("moves the batch into the matrices")
    one, other = call.input(0), call.input(1)
    one = transposed(one) if call.attribute("transA", 0) and one.rank > 1 else one
    other = transposed(other) if call.attribute("transB", 0) and other.rank > 1 else other
    return [product_of(one, other)]


def matmul_integer(call: Call) -> list[Tensor]:
    """Of integers, each factor with one zero point, or the second with one for each column."""
    call.check_shared(2, 3)
    check_single(call, 2)
    if call.has(3) and call.input(1).rows is not None:
        check_single(call, 3)
    return [product_of(call.input(0), call.input(1))]


def qlinear_matmul(call: Call) -> list[Tensor]:
    """Of quantized factors; each with scale and zero point, as the result."""
    call.check_shared(1, 2, 4, 5, 6, 7)
    for index in (1, 2, 6, 7):
        check_single(call, index)
    if call.input(3).rows is not None:
        check_single(call, 4)
        check_single(call, 5)
    return [product_of(call.input(0), call.input(3))]


def qgemm(call: Call) -> list[Tensor]:
    """QGemm: A, its scale and zero point, B with the same, C, the result's scale and zero point."""
    call.check_shared(1, 2, 3, 4, 5, 6, 7, 8)
    check_single(call, 1)
    check_single(call, 2)
    one, other = call.input(0), call.input(3)
    one = transposed(one) if call.attribute("transA", 0) else one
    other = transposed(other) if call.attribute("transB", 0) else other
    result = product_of(one, other)
    return [broadcast([result, call.input(6)]) if call.has(6) else result]


def matmul_nbits(call: Call) -> list[Tensor]:
    """MatMulNBits: by a matrix of few bits, row by row; with a lower accuracy each row has scales of its own."""
    source = call.input(0)
    call.check_shared(*range(1, len(call.inputs)))
    if source.rows is not None and source.rows.axis == source.rank - 1:
        raise MixesError("sums over the rows of the batch")
    sizes = [*source.dimensions[:-1], int(call.attribute("N"))]
    return [shared(sizes) if source.rows is None else by_rows(sizes, source.rows)]


def einsum(call: Call) -> list[Tensor]:
    """A sum over letters that the result lacks."""
    equation = str(call.attribute("equation", "")).replace(" ", "")
    if "..." in equation or "->" not in equation:
        raise MixesError(f"has the equation {equation!r}, which does not name every dimension of its result")
    terms, result = equation.split("->")
    tensors = call.given()
    letters: set[tuple[str, AnySize, AnySize]] = set()
    sizes: dict[str, AnySize] = {}
    for term, tensor in zip(terms.split(","), tensors, strict=True):
        if tensor.is_sizes:
            raise MixesError("computes with the number of rows")
        for letter, size in zip(term, tensor.dimensions, strict=True):
            if sizes.get(letter, 1) == 1:
                sizes[letter] = size
        if tensor.rows is not None:
            letters.add((term[tensor.rows.axis], tensor.rows.outer, tensor.rows.inner))
            if term.count(term[tensor.rows.axis]) > 1:
                raise MixesError("takes a diagonal of the batch")
    if not letters:
        return [shared(sizes[letter] for letter in result)]
    if len(letters) > 1:
        raise MixesError("brings the batch together with another dimension")
    ((letter, outer, inner),) = letters
    for term, tensor in zip(terms.split(","), tensors, strict=True):
        if tensor.rows is None and letter in term:
            raise MixesError("pairs the rows of the batch with values of the model's own")
    if result.count(letter) != 1:
        raise MixesError("sums over the rows of the batch")
    return [by_rows((sizes[item] for item in result), Rows(result.index(letter), outer, inner))]


def convolution(call: Call) -> list[Tensor]:
    """Conv, and its kinds with something done to the result; (N, C, …) by weights (M, C, …)."""
    call.check_shared(1, 2)
    sizes = [call.input(0).dimensions[0], call.input(1).dimensions[0], *_windows(call, call.input(1).dimensions[2:])]
    result = _first(call, sizes)
    if call.has(3):
        result = broadcast([result, call.input(3)])  # FusedConv adds it
    return [result]


def transposed_convolution(call: Call) -> list[Tensor]:
    """ConvTranspose: (N, C, …) by weights (C, M / groups, …)."""
    call.check_shared(1, 2)
    weights = call.input(1).dimensions
    sizes = [0, weights[1] * call.attribute("group", 1), *(unknown(least=0) for _ in weights[2:])]
    return [_first(call, sizes)]


def quantized_convolution(call: Call) -> list[Tensor]:
    """QLinearConv: X, its scale and zero point, W with the same, the result's, bias."""
    call.check_shared(*range(1, 9))
    weights = call.input(3).dimensions
    return [_first(call, [0, weights[0], *_windows(call, weights[2:])])]


def integer_convolution(call: Call) -> list[Tensor]:
    """ConvInteger: X and W, with their zero points."""
    call.check_shared(1, 2, 3)
    weights = call.input(1).dimensions
    return [_first(call, [0, weights[0], *_windows(call, weights[2:])])]


def pooling(call: Call) -> list[Tensor]:
    """The largest or mean of windows; MaxPool's second result are places, which count through the whole batch."""
    source = call.input(0)
    if len(call.node.outputs) > 1:
        raise MixesError("numbers places through the whole batch")
    call.check_shared(*range(1, len(call.inputs)))
    if call.attribute("channels_last", 0):
        raise MixesError("has channels last")
    sizes = [0, source.dimensions[1], *_windows(call, call.attribute("kernel_shape"))]
    return [_first(call, sizes)]


def global_pooling(call: Call) -> list[Tensor]:
    """One number for each channel."""
    source = call.input(0)
    call.check_shared(*range(1, len(call.inputs)))
    if call.attribute("channels_last", 0):
        raise MixesError("has channels last")
    return [_first(call, [0, source.dimensions[1], *([1] * (source.rank - 2))])]


def _first(call: Call, sizes: Sequence[AnySize]) -> Tensor:
    """A tensor of ``sizes`` by the rows of the first input, whose first dimension the batch is."""
    source = call.input(0)
    if source.is_sizes:
        raise MixesError("computes with the number of rows")
    if source.rows is None:
        return shared([source.dimensions[0], *sizes[1:]])
    if source.rows.axis != 0:
        raise MixesError("slides windows over the batch, or adds it up")
    return by_rows(sizes, source.rows)


def _windows(call: Call, kernel: Sequence[AnySize]) -> list[AnySize]:
    """How many windows there are along each dimension from the third."""
    sizes = call.input(0).dimensions[2:]
    count = len(sizes)
    strides = call.attribute("strides") or [1] * count
    dilations = call.attribute("dilations") or [1] * count
    pads = call.attribute("pads") or [0] * (2 * count)
    padding = call.attribute("auto_pad", "NOTSET")
    found: list[AnySize] = []
    for axis, size in enumerate(sizes):
        width = kernel[axis]
        if not isinstance(size, int) or not isinstance(width, int):
            found.append(unknown(least=0))
            continue
        stride = strides[axis]
        if padding in ("SAME_UPPER", "SAME_LOWER"):
            found.append(-(-size // stride))
            continue
        space = size - dilations[axis] * (width - 1) - 1
        if padding != "VALID":
            space += pads[axis] + pads[axis + count]
        windows = space // stride + 1
        if call.attribute("ceil_mode", 0) and -(-space // stride) + 1 != windows:
            # Whether the last window, which reaches out, counts differs between versions.
            found.append(unknown(least=0))
        else:
            found.append(windows)
    return found


def image_blocks(call: Call) -> list[Tensor]:
    """DepthToSpace and SpaceToDepth: pixels to channels or back."""
    source = call.input(0)
    side = int(call.attribute("blocksize"))
    sizes: list[AnySize] = []
    for axis, size in enumerate(source.dimensions):
        if axis == 0:
            sizes.append(size)
            continue
        grows = (axis == 1) == (call.node.operator == "SpaceToDepth")
        factor = side * side if axis == 1 else side
        if grows:
            sizes.append(size * factor)
        else:
            sizes.append(size // factor if isinstance(size, int) else unknown(least=0))
    return [_first(call, sizes)]


RULES: Mapping[tuple[str, str], Rule] = {
    ("", "AveragePool"): pooling,
    ("", "Conv"): convolution,
    ("", "ConvInteger"): integer_convolution,
    ("", "ConvTranspose"): transposed_convolution,
    ("", "DepthToSpace"): image_blocks,
    ("", "Einsum"): einsum,
    ("", "Gemm"): gemm,
    ("", "GlobalAveragePool"): global_pooling,
    ("", "GlobalLpPool"): global_pooling,
    ("", "GlobalMaxPool"): global_pooling,
    ("", "LpPool"): pooling,
    ("", "MatMul"): matmul,
    ("", "MatMulInteger"): matmul_integer,
    ("", "MaxPool"): pooling,
    ("", "QLinearConv"): quantized_convolution,
    ("", "QLinearMatMul"): qlinear_matmul,
    ("", "SpaceToDepth"): image_blocks,
    ("com.microsoft", "FusedConv"): convolution,
    ("com.microsoft", "FusedGemm"): gemm,
    ("com.microsoft", "FusedMatMul"): fused_matmul,
    ("com.microsoft", "MatMulNBits"): matmul_nbits,
    ("com.microsoft", "QGemm"): qgemm,
    ("com.microsoft", "QLinearAveragePool"): pooling,
    ("com.microsoft", "QLinearGlobalAveragePool"): global_pooling,
    ("com.microsoft", "TransposeMatMul"): fused_matmul,
}
