"""The architectures that later tests stand on: each export says in ONNX Runtime what torch says."""

from itertools import product

import numpy as np
import onnx
import onnxruntime
import pytest

from tests.architectures import NAMES, Exporter, example, expected, export, opsets

EXPORTERS: tuple[Exporter, ...] = ("dynamo", "torchscript")
CASES = [(name, exporter, opset) for name, exporter in product(NAMES, EXPORTERS) for opset in opsets(name, exporter)]


@pytest.mark.parametrize(("name", "exporter", "opset"), CASES)
def test_the_export_answers_as_torch_does(name: str, exporter: Exporter, opset: int) -> None:
    proto = export(name, exporter, opset)
    onnx.checker.check_model(proto)
    assert {item.domain: item.version for item in proto.opset_import}[""] == opset
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    (answer,) = session.run(None, example(name, seed=1))
    np.testing.assert_allclose(answer, expected(name, seed=1), rtol=1e-4, atol=1e-4)
