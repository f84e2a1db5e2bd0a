"""The specification's own test cases: every operator, in every form that is not refused, gives what ONNX says."""

import warnings
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from onnx import ModelProto
from onnx.backend.test.loader import load_model_tests

from edgemodel_compressor.errors import NotApplicableError
from edgemodel_compressor.train.network.module import GraphModule
from edgemodel_compressor.train.network.operators import OPERATORS

_DTYPES = {"bool", "uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64"}
_REFUSED = {
    ("Attention", "it caps its scores, keeps a cache or counts padding"),
    ("Attention", "its cache or its scores are an output"),
    ("Attention", "it sees a window only"),
    ("AveragePool", "its window is dilated"),
    (
        "BatchNormalization",
        "it normalizes by the batch instead of running statistics; export the model in eval mode",
    ),
    ("Dropout", "what it drops is an output"),
    ("GRU", "its reset gate comes before the product; export it with linear_before_reset=1"),
    ("LSTM", "its sequences have lengths of their own, or it has peepholes"),
    ("MaxPool", "the positions of the maxima are an output"),
    ("Resize", "it filters before it samples"),
    ("Resize", "it keeps the aspect ratio"),
    ("Resize", "its coordinates are 'tf_crop_and_resize'"),
    ("ScatterND", "its reduction is 'max'"),
    ("ScatterND", "its reduction is 'min'"),
    ("ScatterND", "its reduction is 'mul'"),
}
"""The forms that no exporter of a served model writes, and that are refused by name."""
_LEFT_OUT = {
    # It drops at random, and what is exported to be served does not.
    "test_training_dropout",
    "test_training_dropout_default",
    # Nothing to reduce: torch has no least value.
    "test_reduce_max_empty_set",
    "test_reduce_max_empty_set_bool",
    "test_reduce_min_empty_set",
}

_ELSEWHERE = {"CastLike", "GRU"}
"""Operators whose cases are all of other types or refused forms: ``test_module`` has some."""


@pytest.fixture(scope="session")
def cases() -> Mapping[str, Sequence[Any]]:
    """The cases of ONNX's backend tests by the operator they start with, as far as torch has their types."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        loaded = load_model_tests(kind="node")
    found = defaultdict(list)
    for case in loaded:
        if case.model is None or case.data_sets is None:
            continue
        operators = {f"{node.domain}{node.op_type}" for node in case.model.graph.node}
        arrays = [array for feed in case.data_sets for part in feed for array in part]
        if operators <= OPERATORS.keys() and all(str(getattr(array, "dtype", "")) in _DTYPES for array in arrays):
            found[case.model.graph.node[0].op_type].append(case)
    return found


def refusals(model: ModelProto) -> set[str]:
    """What a refusal of the only node of ``model`` may say."""
    (node,) = model.graph.node
    return {
        f"its node {node.name or node.output[0]!r} ({node.op_type}) cannot be trained: {reason}"
        for operator, reason in _REFUSED
        if operator == node.op_type
    }


def check(case: Any) -> bool:
    """Compare one case; False where it is refused by name."""
    try:
        module = GraphModule(case.model)
    except NotApplicableError as error:
        refusal = str(error)
        if "of type" not in refusal and refusal not in refusals(case.model):
            raise
        return False
    for inputs, expected in case.data_sets:
        with torch.no_grad():
            outputs = module(*(torch.from_numpy(np.array(array)) for array in inputs))
        for output, wanted in zip(outputs, expected, strict=True):
            ours = output.numpy()
            assert (ours.shape, ours.dtype) == (wanted.shape, wanted.dtype), case.name
            # Half floats are summed in another order.
            rtol = 5e-3 if wanted.dtype == np.float16 else case.rtol
            np.testing.assert_allclose(ours, wanted, rtol=rtol, atol=max(case.atol, 1e-5), err_msg=case.name)
    return True


@pytest.mark.parametrize("operator", sorted(OPERATORS.keys() - _ELSEWHERE))
def test_an_operator_does_what_its_specification_says(operator: str, cases: Mapping[str, Sequence[Any]]) -> None:
    ran = [check(case) for case in cases[operator] if case.name not in _LEFT_OUT]
    assert any(ran)
