"""From a torch module to the ONNX file that tools are given. Needs torch and onnx, and nothing of this project."""

import logging
import warnings
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import nn


def export(network: nn.Module, example: torch.Tensor, path: Path) -> None:
    """Write ``network`` as one ONNX file, with an open batch dimension."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                network,
                (example,),
                input_names=["x"],
                output_names=["y"],
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                dynamo=True,
                verbose=False,
            )
    finally:
        logging.disable(before)
    assert program is not None
    proto: onnx.ModelProto = program.model_proto
    # The exporter notes source files and line numbers of this machine on every node: no part of the model.
    graph = proto.graph
    parts: list[Any] = [proto, graph, *graph.node, *graph.value_info, *graph.initializer]
    for part in parts:
        del part.metadata_props[:]
        part.doc_string = ""
    path.write_bytes(proto.SerializeToString(deterministic=True))
