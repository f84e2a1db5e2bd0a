"""Folders as ``save_pretrained`` writes them: config.json and safetensors, loaded by transformers' own classes.

No code of the folder runs and no pickle is read: ``trust_remote_code`` is off and a config that names code is refused,
weights come from safetensors alone, and nothing is fetched (``formats`` switches the hub and its telemetry off). The
config is checked before a model is built of it: one line of JSON may ask for more layers than there is memory.

What a model takes and answers is told by ``signature``.
"""

import inspect
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgemodel_compressor.errors import TaskError, first_line
from edgemodel_compressor.formats.detect import CONFIG
from edgemodel_compressor.formats.export import checked, explained, export_program, torch_at_work
from edgemodel_compressor.formats.signature import Signature, signature_of
from edgemodel_compressor.onnxmodel.runtime import Array, Feed
from edgemodel_contract.task import TensorSpec

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

_WHAT = "The transformers model"
_JSON_LIMIT = 64 * 2**20
_LAYERS_LIMIT = 1000
_SIZE_LIMIT = 2**31
_OPSET = 18


def convert(
    folder: Path, hints: Sequence[TensorSpec], shown: Sequence[TensorSpec], threads: int, work: Path
) -> tuple[Path, float]:
    """The ONNX model of the model in ``folder``, in ``work``, and its largest relative difference.

    ``shown`` are the arrays of the dataset, samples first.

    Raises:
        TaskError: InvalidModel, UnsupportedModel; InvalidTask for an image model of any size without a hint.
    """
    import torch

    target = work / "exported.onnx"
    with torch_at_work(threads):
        model = _load(folder)
        stated = {spec.name: spec.shape[1:] for spec in (*shown, *hints)}
        signature = signature_of(model, stated)

        def original(feed: Feed) -> list[Array]:
            tensors = [torch.from_numpy(array) for array in feed.values()]
            return [output.numpy() for output in signature.call(*tensors)]

        # The older exporter takes a tenth of the time. It writes down what one run did, so it may take a length for
        # a constant: the check with other batches and lengths tells, and then the current one does it.
        try:
            _trace(signature, target)
            return checked(target, original, signature.feeds(), threads)
        except TaskError:
            _capture(signature, target)
            return checked(target, original, signature.feeds(), threads)


def _trace(signature: Signature, target: Path) -> None:
    import torch

    with explained(_WHAT):
        torch.onnx.export(
            signature.call,
            tuple(signature.example().values()),
            str(target),
            input_names=list(signature.sizes),
            output_names=list(signature.outputs),
            dynamic_axes=signature.open_axes(),
            opset_version=_OPSET,
            dynamo=False,
        )


def _capture(signature: Signature, target: Path) -> None:
    from torch.export import Dim

    axes = signature.open_axes()
    export_program(
        _WHAT,
        target,
        signature.call,
        args=tuple(signature.example().values()),
        dynamic_shapes={"tensors": tuple(dict.fromkeys(axes[name], Dim.DYNAMIC) for name in signature.sizes)},
        input_names=list(signature.sizes),
        output_names=list(signature.outputs),
    )


def _load(folder: Path) -> "PreTrainedModel":
    import torch
    import transformers

    transformers.utils.logging.disable_progress_bar()
    settings = _read_config(folder)
    weights = _weights(folder)
    kind = _class(settings)
    try:
        config = kind.config_class.from_pretrained(folder, local_files_only=True)
        # From the file, it may name a kernel on a hub.
        config._attn_implementation = "eager"
        _check_size(kind, config, weights)
        model, report = kind.from_pretrained(
            folder,
            config=config,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            dtype=torch.float32,
            attn_implementation="eager",
            output_loading_info=True,
        )
    except TaskError:
        raise
    except Exception as error:  # transformers raises whatever a config leads it to
        raise TaskError(
            "InvalidModel",
            f"{_WHAT} cannot be loaded by transformers {transformers.__version__}: {first_line(error)}; save it again "
            "with model.save_pretrained.",
        ) from error
    missing = sorted(report["missing_keys"])
    if missing:
        raise TaskError(
            "InvalidModel",
            f"{_WHAT} lacks {len(missing)} of its weights ({missing[0]}); save it again with model.save_pretrained.",
        )
    return model.eval()


def _read_config(folder: Path) -> dict[str, Any]:
    settings = _read_json(folder / CONFIG)
    if (folder / "adapter_config.json").exists():
        raise TaskError(
            "UnsupportedModel", f"{_WHAT} is an adapter; merge it into its base model and save that (merge_and_unload)."
        )
    for key, value in _entries(settings):
        if key == "auto_map":
            raise TaskError(
                "InvalidModel",
                f"{_WHAT} brings its own code (auto_map), which is never run; export it to ONNX where it is trusted.",
            )
        if key == "quantization_config" and value:
            raise TaskError(
                "UnsupportedModel", f"{_WHAT} is quantized already; give the model in single precision instead."
            )
        if key in ("use_pretrained_backbone", "use_timm_backbone") and value:
            raise TaskError(
                "UnsupportedModel", f"{_WHAT} takes its backbone from elsewhere ({key}); export it to ONNX yourself."
            )
        if isinstance(value, int) and abs(value) > (_LAYERS_LIMIT if _counts_layers(key) else _SIZE_LIMIT):
            raise TaskError("InvalidModel", f"{_WHAT} asks for {key} {value}; such a config is refused.")
    return settings


def _counts_layers(key: str) -> bool:
    return any(word in key for word in ("layer", "depth", "block")) and "_size" not in key and "_id" not in key


def _entries(value: object) -> Iterator[tuple[str, object]]:
    """All keys at any depth, with what they are set to; members of a list under the list's key."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield key, item
            for member in item if isinstance(item, list) else ():
                yield key, member
                yield from _entries(member)
            yield from _entries(item)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _JSON_LIMIT:
            raise ValueError(f"it has {path.stat().st_size} bytes")
        content = json.loads(path.read_bytes())
        if not isinstance(content, dict):
            raise ValueError("it is no JSON object")
    except (OSError, ValueError, RecursionError) as error:
        raise TaskError(
            "InvalidModel", f"The {path.name} of the model cannot be read: {first_line(error)}; save the model again."
        ) from error
    return content


def _weights(folder: Path) -> int:
    """The number of weights in the safetensors files, from their headers."""
    from safetensors import SafetensorError, safe_open

    index = folder / "model.safetensors.index.json"
    names = {"model.safetensors"}
    if index.exists():
        names = set(map(str, _read_json(index).get("weight_map", {}).values()))
    total = 0
    for name in sorted(names):
        if Path(name).name != name or not (folder / name).is_file():
            raise TaskError(
                "InvalidModel",
                f"{_WHAT} keeps weights in {name[:100]!r}, which is not in its folder; save it again with "
                "model.save_pretrained.",
            )
        try:
            with safe_open(folder / name, framework="np") as file:
                total += sum(math.prod(file.get_slice(key).get_shape()) for key in file.keys())  # noqa: SIM118
        except (SafetensorError, OSError) as error:
            raise TaskError(
                "InvalidModel",
                f"The weights in {name} are damaged or cut short ({first_line(error, 120)}); upload them again.",
            ) from error
    return total


def _class(settings: Mapping[str, Any]) -> "type[PreTrainedModel]":
    import transformers

    names = settings.get("architectures")
    if not isinstance(names, list) or len(names) != 1 or not isinstance(names[0], str):
        raise TaskError(
            "InvalidModel", f"The {CONFIG} of the model names no architecture; save it with model.save_pretrained."
        )
    kind = getattr(transformers, names[0], None) if names[0].isidentifier() else None
    if not (inspect.isclass(kind) and issubclass(kind, transformers.PreTrainedModel)):
        raise TaskError(
            "UnsupportedModel",
            f"The architecture {names[0][:100]!r} is not one of transformers {transformers.__version__}; export the "
            "model to ONNX yourself.",
        )
    return kind


def _check_size(kind: "type[PreTrainedModel]", config: "PreTrainedConfig", weights: int) -> None:
    """The config asks for no more than the files hold; built without memory for it."""
    import torch

    with torch.device("meta"):
        wanted = sum(parameter.numel() for parameter in kind(config).parameters())
    if wanted > 2 * weights + 2**20:
        raise TaskError(
            "InvalidModel",
            f"The {CONFIG} of the model asks for {wanted} weights, but its files hold {weights}; they do not belong "
            "together.",
        )
