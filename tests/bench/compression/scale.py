"""How memory and time grow with the model: stacks of linear layers with their weights in a file of their own."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from tests.bench.compression.ours import compress
from tests.bench.report import Goal
from tools.localcluster.system.progress import Progress

WIDTH = 4096
SAMPLES = 16
SIZES: Mapping[str, int] = {"0.1 GB": 2, "0.4 GB": 6, "1.5 GB": 23}
"""Layers of 4096² numbers, 67 MB each."""
RECIPES: Mapping[str, tuple[str, ...]] = {
    "dynamic": ("--quantize", "dynamic"),
    "magnitude + static": ("--prune", "0.5", "--quantize", "static"),
}
LIMIT_OF = 1.5e9
"""Bytes from which on a model must keep to the limit of memory."""
STEEPEST = 2.0
"""How many times more a parameter may cost among the largest models than among the smallest."""


@dataclass(frozen=True)
class Scaled:
    """One model by one recipe."""

    recipe: str
    size: int
    parameters: int
    seconds: float
    peak: int

    @property
    def allowed(self) -> int:
        """Bytes: 4 × the model and 1 GiB."""
        return 4 * self.size + 2**30


def write_stack(folder: Path, layers: int) -> int:
    """``layers`` linear layers with ReLU, and one for ten classes; drawn at the scale that keeps activations alike.

    Answers the number of parameters.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(layers)
    nodes, tensors, offset = [], [], 0
    shapes = [(WIDTH, WIDTH)] * layers + [(WIDTH, 10)]
    with (folder / "stack.data").open("wb") as data:
        for index, shape in enumerate(shapes):
            weight = rng.normal(scale=(2 / WIDTH) ** 0.5, size=shape).astype(np.float32)
            data.write(weight.tobytes())
            tensor = TensorProto(name=f"w{index}", data_type=TensorProto.FLOAT, dims=shape)
            tensor.data_location = TensorProto.EXTERNAL
            entries = {"location": "stack.data", "offset": str(offset), "length": str(weight.nbytes)}
            tensor.external_data.extend(onnx.StringStringEntryProto(key=key, value=entries[key]) for key in entries)
            tensors.append(tensor)
            offset += weight.nbytes
            nodes.append(helper.make_node("MatMul", [f"x{index}", f"w{index}"], [f"m{index}"], name=f"layer{index}"))
            nodes.append(helper.make_node("Relu", [f"m{index}"], [f"x{index + 1}"], name=f"relu{index}"))
    nodes[-1].op_type = "Identity"
    graph = helper.make_graph(
        nodes,
        "stack",
        [helper.make_tensor_value_info("x0", TensorProto.FLOAT, ["batch", WIDTH])],
        [helper.make_tensor_value_info(f"x{len(shapes)}", TensorProto.FLOAT, ["batch", 10])],
        tensors,
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    (folder / "stack.onnx").write_bytes(proto.SerializeToString())
    return layers * WIDTH**2 + WIDTH * 10


def measure(folder: Path, sizes: Sequence[str], progress: Progress) -> list[Scaled]:
    """Every recipe on every size, one after the other; the models are removed again.

    Raises:
        ToolError: the command failed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    dataset = folder / "dataset.npz"
    np.savez(dataset, x=np.random.default_rng(0).normal(size=(SAMPLES, WIDTH)).astype(np.float32))
    model, scaled = folder / "stack", []
    for size in sizes:
        with progress.step(f"a stack of {size}") as step:
            parameters = write_stack(model, SIZES[size])
            bytes_ = sum(file.stat().st_size for file in model.iterdir())
            for recipe, options in RECIPES.items():
                step.update(recipe)
                run = compress(model, dataset, folder / "out", *options).run
                scaled.append(Scaled(recipe, bytes_, parameters, run.seconds, run.peak))
            shutil.rmtree(model)
            shutil.rmtree(folder / "out")
    return scaled


def scale_goals(scaled: Sequence[Scaled]) -> list[Goal]:
    """The limit of memory for the large, and that the time grows linearly.

    Not seconds per parameter: there a fixed start hides what grows faster. What a further parameter costs from the
    middle to the largest model is compared with what it costs from the smallest to the middle one.
    """
    goals = [
        Goal(f"{one.recipe}, {one.size / 1e9:.1f} GB: peak memory, GiB", one.peak / 2**30, one.allowed / 2**30)
        for one in scaled
        if one.size >= LIMIT_OF
    ]
    for recipe in RECIPES:
        steps = [one for one in scaled if one.recipe == recipe]
        if len(steps) == 3:
            goals.append(Goal(f"{recipe}: time per further parameter, large to small", _bend(*steps), STEEPEST))
    return goals


def _bend(small: Scaled, middle: Scaled, large: Scaled) -> float:
    early = (middle.seconds - small.seconds) / (middle.parameters - small.parameters)
    late = (large.seconds - middle.seconds) / (large.parameters - middle.parameters)
    return late / early if early > 0 else float("inf")
