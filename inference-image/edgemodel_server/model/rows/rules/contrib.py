"""Attention, and what ONNX Runtime's own optimizer makes of transformers: the operators of com.microsoft."""

from collections.abc import Mapping

from edgemodel_server.model.rows.rules.shapes import Rule
from edgemodel_server.model.rows.sizes import AnySize, equal, unknown
from edgemodel_server.model.rows.tensors import Call, MixesError, Rows, Tensor, axis_of, broadcast, by_rows, shared


def _first(tensor: Tensor, index: int) -> Rows:
    """Where the batch is, if that is the first dimension. Raises MixesError if not."""
    if tensor.rows is None or tensor.rows.axis != 0:
        raise MixesError(f"has an input {index} whose first dimension is not the batch")
    return tensor.rows


def _check_together(call: Call, rows: Rows, *indices: int) -> None:
    """Raise MixesError unless these inputs, as far as they are given, have the batch as their first dimension."""
    for index in indices:
        if call.has(index) and call.input(index).rows != rows:
            raise MixesError(f"has an input {index} whose first dimension is not the batch")


def _check_added(call: Call, rows: Rows, index: int) -> None:
    """Raise MixesError unless what is added to scores (N, heads, T, T) is the batch's or the same for every row."""
    if not call.has(index):
        return
    tensor = call.input(index)
    if tensor.rows == rows and tensor.rank == 4:
        return
    if tensor.rank > 4 or not tensor.is_shared or (tensor.rank == 4 and equal(tensor.dimensions[0], 1) is not True):
        raise MixesError("adds to its scores what is neither the batch's nor the same for every row")


def attention(call: Call) -> list[Tensor]:
    """ONNX's Attention: queries, keys and values, of three dimensions or four, a mask, and what was kept of them."""
    query, value = call.input(0), call.input(2)
    rows = _first(query, 0)
    _check_together(call, rows, 1, 2, 4, 5, 6)
    _check_added(call, rows, 3)
    if query.rank == 4:
        sizes: list[AnySize] = [0, query.dimensions[1], query.dimensions[2], value.dimensions[3]]
    else:
        sizes = [0, query.dimensions[1], unknown(least=0)]
    kept = by_rows([0, *(unknown(least=0) for _ in range(3))], rows)
    return [by_rows(sizes, rows), kept, kept, kept]


def packed_attention(call: Call) -> list[Tensor]:
    """Attention of com.microsoft: X (N, T, C), weights, bias, a mask, what was kept, and what is added to scores."""
    source = call.input(0)
    rows = _first(source, 0)
    call.check_shared(1, 2)
    _check_mask(call, rows, 3)
    if call.has(4) or call.has(6):
        raise MixesError("keeps keys of earlier calls")
    _check_added(call, rows, 5)
    wide = call.attribute("qkv_hidden_sizes")
    width = int(wide[2]) if wide else _third(call.input(1).dimensions[1])
    return [by_rows([0, source.dimensions[1], width], rows), by_rows([0] * 5, rows.at(1))]


def quantized_attention(call: Call) -> list[Tensor]:
    """QAttention: X, weights, bias, scales, a mask, zero points, and what was kept."""
    source = call.input(0)
    rows = _first(source, 0)
    call.check_shared(1, 2, 3, 4, 6, 7)
    _check_mask(call, rows, 5)
    if call.has(8):
        raise MixesError("keeps keys of earlier calls")
    return [by_rows([0, source.dimensions[1], _third(call.input(1).dimensions[1])], rows), by_rows([0] * 5, rows.at(1))]


def _third(size: AnySize) -> AnySize:
    return size // 3 if isinstance(size, int) else unknown(least=0)


def _check_mask(call: Call, rows: Rows, index: int) -> None:
    """Raise MixesError unless the mask has the batch as its first dimension, of two dimensions or more: a mask of one
    has lengths and places in one list."""
    if call.has(index) and (call.input(index).rows != rows or call.input(index).rank < 2):
        raise MixesError("has a mask whose first dimension is not the batch")


def multi_head_attention(call: Call) -> list[Tensor]:
    """MultiHeadAttention: query, key, value, bias, a mask, what is added to scores, and what was kept."""
    query = call.input(0)
    rows = _first(query, 0)
    _check_together(call, rows, 1, 2, 6, 7)
    call.check_shared(3)
    _check_mask(call, rows, 4)
    _check_added(call, rows, 5)
    if query.rank != 3 or len(call.given(8)) > 0:
        raise MixesError("has an arrangement of its inputs that is not known")
    width: AnySize = query.dimensions[2]
    if call.has(2):
        value = call.input(2)
        width = value.dimensions[2] if value.rank == 3 else unknown(least=0)
    kept = by_rows([0] + [unknown(least=0) for _ in range(3)], rows)
    return [by_rows([0, query.dimensions[1], width], rows), kept, kept, kept]


def embed_norm(call: Call) -> list[Tensor]:
    """EmbedLayerNormalization: numbers of words and segments, tables, parameters, a mask, numbers of places."""
    words = call.input(0)
    rows = _first(words, 0)
    _check_together(call, rows, 1, 7)
    call.check_shared(2, 3, 4, 5, 6)
    if call.has(8) and call.input(8).rows != rows:
        places = call.input(8)
        if not places.is_shared or places.rank != 2 or equal(places.dimensions[0], 1) is not True:
            raise MixesError("has places that are neither the batch's nor the same for every row")
    width = call.input(2).dimensions[1]
    result = by_rows([0, words.dimensions[1], width], rows)
    return [result, by_rows([0], rows), result]


def rotary(call: Call) -> list[Tensor]:
    """RotaryEmbedding of com.microsoft: X, numbers of places, tables."""
    source, places = call.input(0), call.input(1)
    rows = _first(source, 0)
    call.check_shared(2, 3)
    alone = places.is_shared and all(size == 1 for size in places.dimensions)
    if not alone and places.rows != rows:
        raise MixesError("has places that are neither the batch's nor the same for every row")
    return [broadcast([source])]


def onnx_rotary(call: Call) -> list[Tensor]:
    """RotaryEmbedding: X, tables, numbers of places; without those the tables are by rows."""
    source = call.input(0)
    rows = _first(source, 0)
    if call.has(3):
        call.check_shared(1, 2)
        _check_together(call, rows, 3)
    else:
        _check_together(call, rows, 1, 2)
    return [broadcast([source])]


def grouped_query_attention(call: Call) -> list[Tensor]:
    """GroupQueryAttention: query, key, value, what was kept, lengths (N), the longest, tables."""
    query = call.input(0)
    rows = _first(query, 0)
    _check_together(call, rows, 1, 2, 3, 4, 5)
    call.check_shared(6, 7, 8)
    if not call.has(1) or len(call.given(9)) > 0:
        raise MixesError("has an arrangement of its inputs that is not known")
    kept = by_rows([0] + [unknown(least=0) for _ in range(3)], rows)
    return [broadcast([query]), kept, kept]


def bias_softmax(call: Call) -> list[Tensor]:
    """BiasSoftmax: of a sum, along the dimensions from ``axis`` on."""
    result = broadcast([call.input(0), call.input(1)])
    if result.rows is not None and result.rows.axis >= axis_of(call.attribute("axis", 1), result.rank):
        raise MixesError("runs over the batch")
    return [result]


def gather_block_quantized(call: Call) -> list[Tensor]:
    """GatherBlockQuantized: entries of a table of few bits."""
    table, indices = call.input(0), call.input(1)
    call.check_shared(0, 2, 3)
    axis = axis_of(call.attribute("gather_axis", 0), table.rank)
    sizes: list[AnySize] = [*table.dimensions[:axis], *indices.dimensions, *table.dimensions[axis + 1 :]]
    # Two numbers of four bits may share a byte of the table.
    sizes[-1] = unknown(least=0)
    return [shared(sizes) if indices.rows is None else by_rows(sizes, indices.rows.at(axis + indices.rows.axis))]


RULES: Mapping[tuple[str, str], Rule] = {
    ("", "Attention"): attention,
    ("", "RotaryEmbedding"): onnx_rotary,
    ("com.microsoft", "Attention"): packed_attention,
    ("com.microsoft", "BiasSoftmax"): bias_softmax,
    ("com.microsoft", "EmbedLayerNormalization"): embed_norm,
    ("com.microsoft", "GatherBlockQuantized"): gather_block_quantized,
    ("com.microsoft", "GroupQueryAttention"): grouped_query_attention,
    ("com.microsoft", "MultiHeadAttention"): multi_head_attention,
    ("com.microsoft", "QAttention"): quantized_attention,
    ("com.microsoft", "RotaryEmbedding"): rotary,
}
