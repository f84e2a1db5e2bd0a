"""What a transformers model takes and answers, as one function of tensors to tensors.

A text model takes ``input_ids`` and ``attention_mask``, or what hints and dataset name of its inputs; an image model
``pixel_values``, a speech model ``input_features``; what has a decoder takes ``decoder_input_ids`` as well, and a model
of text and image both of theirs. The first tensor of scores is the output ``logits``; a model of text and image answers
with ``text_embeds`` and ``image_embeds``, because its scores compare the rows of a batch with one another. The batch
is open, and so is the length of a sequence unless a hint or the dataset states it.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgemodel_compressor.errors import TaskError
from edgemodel_compressor.formats.detect import CONFIG
from edgemodel_compressor.formats.export import SAMPLES
from edgemodel_compressor.onnxmodel.runtime import Array, Feed

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedConfig, PreTrainedModel

Shape = tuple[int, ...]
"""Without the batch; -1 is open."""

_EXAMPLE_LENGTH = 16
_TEXT, _MASK, _TYPES, _IMAGE, _SPEECH, _DECODER = (
    "input_ids", "attention_mask", "token_type_ids", "pixel_values", "input_features", "decoder_input_ids"
)  # fmt: skip
_EMBEDDINGS = ("text_embeds", "image_embeds")


@dataclass(frozen=True)
class Signature:
    """A model's inputs with their ``sizes``, its ``outputs`` by name, and ``call`` from the ones to the others."""

    config: "PreTrainedConfig"
    sizes: Mapping[str, Shape]
    outputs: tuple[str, ...]
    call: "torch.nn.Module"

    def example(self) -> dict[str, "torch.Tensor"]:
        """Two rows of input, for an exporter."""
        import torch

        return {name: torch.from_numpy(array) for name, array in self._feed(2, _EXAMPLE_LENGTH, 0).items()}

    def feeds(self) -> Iterator[Feed]:
        """Inputs of several batches and lengths, on which an export is compared with the model."""
        for seed in range(SAMPLES):
            yield self._feed(1 + seed % 2, _EXAMPLE_LENGTH - 3 * seed, seed + 1)

    def open_axes(self) -> dict[str, dict[int, str]]:
        """Of each input and output, the axes whose size is open, named."""
        axes = {
            name: {0: "batch"} | {axis: f"{name}_{axis}" for axis, size in enumerate(shape, 1) if size == -1}
            for name, shape in self.sizes.items()
        }
        one, other = (self._shapes(*sizes) for sizes in ((2, _EXAMPLE_LENGTH), (3, _EXAMPLE_LENGTH - 3)))
        for name, first, second in zip(self.outputs, one, other, strict=True):
            changing = [axis for axis, sizes in enumerate(zip(first, second, strict=True)) if sizes[0] != sizes[1]]
            axes[name] = {axis: "batch" if axis == 0 else f"{name}_{axis}" for axis in changing}
        return axes

    def _shapes(self, batch: int, length: int) -> list[Shape]:
        import torch

        feed = self._feed(batch, length, 0)
        return [tuple(output.shape) for output in self.call(*(torch.from_numpy(array) for array in feed.values()))]

    def _feed(self, batch: int, length: int, seed: int) -> dict[str, Array]:
        """Random numbers, or random tokens of which the last one is padding; ``length`` where it is open."""
        rng = np.random.default_rng(seed)
        text = self.config.get_text_config()
        length = min(length, getattr(text, "max_position_embeddings", None) or length)
        feed: dict[str, Array] = {}
        for name, shape in self.sizes.items():
            # Of another length than what the encoder reads.
            open_size = length // 2 + 1 if name == _DECODER else length
            full = (batch, *(open_size if size == -1 else size for size in shape))
            if name in (_IMAGE, _SPEECH):
                feed[name] = rng.normal(size=full).astype(np.float32)
            elif name in (_TEXT, _DECODER):
                feed[name] = rng.integers(0, text.vocab_size, full)
            else:
                feed[name] = np.full(full, int(name == _MASK), np.int64)
                if name == _MASK and full[1] > 1:
                    feed[name][:, -1] = 0
        return feed


def signature_of(model: "PreTrainedModel", stated: Mapping[str, Shape]) -> Signature:
    """The signature of ``model``, where hints or dataset have ``stated`` shapes.

    Raises:
        TaskError: UnsupportedModel; InvalidTask for an image model of any size that nothing states.
    """
    parameters = inspect.signature(model.forward).parameters
    sizes: dict[str, Shape] = {}
    if model.main_input_name == _TEXT:
        sizes |= _text_sizes(parameters, stated)
        if _IMAGE in parameters:
            _refuse_unless(_embeds_both(model), model, f"{_TEXT} and {_IMAGE}")
            sizes[_IMAGE] = _image_size(model.config.vision_config, stated.get(_IMAGE, ()))
    elif model.main_input_name == _IMAGE:
        sizes[_IMAGE] = _image_size(model.config, stated.get(_IMAGE, stated.get("x", ())))
    elif model.main_input_name == _SPEECH:
        sizes[_SPEECH] = stated.get(_SPEECH) or _speech_size(model)
    else:
        _refuse_unless(False, model, model.main_input_name)
    if _DECODER in parameters:
        sizes[_DECODER] = stated.get(_DECODER, (-1,))
    outputs = _EMBEDDINGS if len(sizes.keys() & {_TEXT, _IMAGE}) == 2 else ("logits",)
    return Signature(model.config, sizes, outputs, _function(model, tuple(sizes), outputs))


def _text_sizes(parameters: Mapping[str, Any], stated: Mapping[str, Shape]) -> dict[str, Shape]:
    taken = [name for name in parameters if name in (_TEXT, _MASK)]
    taken += [name for name in (_TYPES,) if name in stated]
    if stated.keys() & {_TEXT, _MASK, _TYPES}:
        taken = [name for name in taken if name in stated or name == _TEXT]
    lengths = {shape[0] for name, shape in stated.items() if name in taken and len(shape) == 1 and shape[0] > 0}
    length = lengths.pop() if len(lengths) == 1 else -1
    return dict.fromkeys(taken, (length,))


def _image_size(config: "PreTrainedConfig", stated: Shape) -> Shape:
    size = getattr(config, "image_size", None)
    if len(stated) == 3 and min(stated) > 0:
        return stated
    if isinstance(size, int):
        size = (size, size)
    if not size:
        raise TaskError(
            "InvalidTask",
            f"The transformers model takes images of any size; state it in inputs, for instance {_IMAGE} with shape "
            "[1, 3, 224, 224].",
        )
    return (int(getattr(config, "num_channels", 3)), *map(int, size))


def _speech_size(model: "PreTrainedModel") -> Shape:
    """What a Whisper takes: its filter bank by twice the positions of its encoder."""
    bins, positions = (getattr(model.config, name, None) for name in ("num_mel_bins", "max_source_positions"))
    _refuse_unless(isinstance(bins, int) and isinstance(positions, int), model, _SPEECH)
    return int(bins or 0), 2 * int(positions or 0)


def _embeds_both(model: "PreTrainedModel") -> bool:
    """Whether ``model`` is two towers, one for text and one for images, as CLIP is."""
    config = model.config
    return hasattr(config, "text_config") and hasattr(config, "vision_config") and hasattr(config, "projection_dim")


def _refuse_unless(supported: bool, model: "PreTrainedModel", inputs: str) -> None:
    if not supported:
        raise TaskError(
            "UnsupportedModel",
            f"The transformers model ({type(model).__name__}) takes {inputs}; models of text, of images, of speech "
            f"features, and those that embed text and images apart are read from {CONFIG}, export others to ONNX "
            "yourself.",
        )


def _function(model: "PreTrainedModel", inputs: tuple[str, ...], outputs: tuple[str, ...]) -> "torch.nn.Module":
    import torch

    parameters = inspect.signature(model.forward).parameters
    options: dict[str, Any] = {"use_cache": False} if "use_cache" in parameters else {}
    # Without a mask a decoder looks for several texts in one row, by an operator that not every exporter knows.
    masked = _DECODER in inputs and "decoder_attention_mask" in parameters
    pick: Callable[[Any], tuple[Any, ...]] = (
        (lambda answer: (answer[0],)) if len(outputs) == 1 else lambda answer: tuple(answer[name] for name in outputs)
    )

    class Function(torch.nn.Module):
        """The model's tensors in the order of ``inputs`` to those of ``outputs``."""

        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
            given = dict(zip(inputs, tensors, strict=True))
            if masked:
                given["decoder_attention_mask"] = torch.ones_like(given[_DECODER])
            return pick(self.model(**given, **options, return_dict=len(outputs) > 1))

    return Function().eval()
