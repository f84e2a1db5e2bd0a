"""How much a residual branch does to what it is added to, as it is seen on samples."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper

from edgemodel_compressor.graph.files import remove, scratch
from edgemodel_compressor.graph.structure.branches import Branch
from edgemodel_compressor.onnxmodel.modelfile import read_model, write_model
from edgemodel_compressor.onnxmodel.runtime import Array, Feed, Session


def influence(source: Path, branches: Sequence[Branch], feeds: Iterable[Feed], folder: Path) -> list[float]:
    """For each of ``branches`` one minus the cosine of ``skip`` and ``joint``, the mean over ``feeds``.

    0 is one that changes nothing (Block Influence: Men et al., 2024, "ShortGPT"). ``source`` is the model they are of.
    """
    proto = read_model(source)
    known = {value.name for value in (*proto.graph.input, *proto.graph.output)}
    seen = dict.fromkeys(name for branch in branches for name in (branch.skip, branch.joint) if name not in known)
    proto.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in seen)
    watched = scratch(folder, "branches", source)
    write_model(proto, watched)
    del proto
    session = Session(watched, 1)
    totals, count = np.zeros(len(branches)), 0
    for feed in feeds:
        tensors = dict(feed) | dict(zip(session.outputs, session.run(feed), strict=True))
        totals += [_turn(tensors[branch.skip], tensors[branch.joint]) for branch in branches]
        count += 1
    remove(watched)
    return [round(float(total), 9) for total in totals / max(count, 1)]


def least(branches: Sequence[Branch], influences: Sequence[float], depth: float) -> tuple[Branch, ...]:
    """The ``depth`` of ``branches`` with the least influence, in the order of the graph; of equal ones the first."""
    order = sorted(range(len(branches)), key=lambda index: (influences[index], index))
    return tuple(branches[index] for index in sorted(order[: round(depth * len(branches))]))


def _turn(before: Array, after: Array) -> float:
    first, second = before.astype(np.float64).ravel(), after.astype(np.float64).ravel()
    scale = float(np.linalg.norm(first) * np.linalg.norm(second))
    return 1.0 - float(first @ second) / scale if scale else 0.0
