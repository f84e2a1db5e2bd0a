"""Transformers folders: real architectures at tiny sizes, and what no folder may bring."""

import json
import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edgemodel_compressor.errors import TaskError
from edgemodel_compressor.formats.signature import Signature
from edgemodel_compressor.formats.source import load_source
from edgemodel_compressor.onnxmodel.model import Model
from edgemodel_compressor.onnxmodel.runtime import Feed, Session
from edgemodel_contract.task import TensorSpec
from tests.unit.compressor.test_archive import tar_files

# After ``formats``, which switches the hub off.
import transformers  # isort: skip

TEXT = {"vocab_size": 60, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}


def bert() -> Any:
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    config = transformers.BertConfig(**TEXT, **sizes, max_position_embeddings=40, num_labels=3)
    return transformers.BertForSequenceClassification(config)


def gpt2() -> Any:
    config = transformers.GPT2Config(**TEXT, n_positions=40, n_embd=16, n_layer=2, n_head=2)
    return transformers.GPT2LMHeadModel(config)


def vit(layers: int = 2) -> Any:
    sizes = {"hidden_size": 16, "num_hidden_layers": layers, "num_attention_heads": 2, "intermediate_size": 32}
    config = transformers.ViTConfig(**sizes, image_size=16, patch_size=4, num_channels=1, num_labels=4)
    return transformers.ViTForImageClassification(config)


SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
LAYERS = {f"{part}_{name}": 2 for part in ("encoder", "decoder") for name in ("layers", "attention_heads")}


def distilbert() -> Any:
    config = transformers.DistilBertConfig(
        vocab_size=60, dim=16, n_layers=2, n_heads=2, hidden_dim=32, max_position_embeddings=40, num_labels=3
    )
    return transformers.DistilBertForSequenceClassification(config)


def roberta() -> Any:
    config = transformers.RobertaConfig(**TEXT, **SIZES, max_position_embeddings=42, num_labels=3)
    return transformers.RobertaForSequenceClassification(config)


def albert() -> Any:
    config = transformers.AlbertConfig(**TEXT, **SIZES, embedding_size=16, max_position_embeddings=40, num_labels=3)
    return transformers.AlbertForSequenceClassification(config)


def llama() -> Any:
    config = transformers.LlamaConfig(**TEXT, **SIZES, num_key_value_heads=1, max_position_embeddings=40)
    return transformers.LlamaForCausalLM(config)


def qwen3() -> Any:
    config = transformers.Qwen3Config(**TEXT, **SIZES, num_key_value_heads=1, head_dim=8, max_position_embeddings=40)
    return transformers.Qwen3ForCausalLM(config)


def t5_sizes() -> Any:
    return transformers.T5Config(
        **TEXT, d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2, decoder_start_token_id=0
    )


def t5() -> Any:
    return transformers.T5ForConditionalGeneration(t5_sizes())


def t5_encoder() -> Any:
    return transformers.T5EncoderModel(t5_sizes())


def whisper() -> Any:
    config = transformers.WhisperConfig(
        **TEXT, **LAYERS, d_model=16, encoder_ffn_dim=32, decoder_ffn_dim=32, num_mel_bins=8,
        max_source_positions=20, max_target_positions=40, decoder_start_token_id=1,
    )  # fmt: skip
    return transformers.WhisperForConditionalGeneration(config)


def clip() -> Any:
    text, vision = TEXT | SIZES | {"max_position_embeddings": 40}, SIZES | {"image_size": 16, "patch_size": 4}
    return transformers.CLIPModel(transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=12))


def save(build: Callable[[], Any], folder: Path, shard: str = "1GB") -> Path:
    torch.manual_seed(0)
    build().eval().save_pretrained(folder, max_shard_size=shard)
    return folder


def load(path: Path, work: Path, *hints: TensorSpec, shown: tuple[TensorSpec, ...] = ()) -> Model:
    work.mkdir(exist_ok=True)
    return load_source(path, "0" * 64, None, hints, lambda: shown, 1, work, 10**9)


def fail(folder: Path, work: Path) -> TaskError:
    with pytest.raises(TaskError) as caught:
        load(folder, work)
    assert caught.value.message.endswith(".")
    assert "\n" not in caught.value.message
    return caught.value


def edit(folder: Path, **entries: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | entries))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save(bert, tmp_path / "bert")


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.mark.parametrize(
    ("build", "output"),
    [
        (bert, (-1, 3)),
        (distilbert, (-1, 3)),
        (roberta, (-1, 3)),
        (albert, (-1, 3)),
        (gpt2, (-1, -1, 60)),
        (llama, (-1, -1, 60)),
        (qwen3, (-1, -1, 60)),
        (t5_encoder, (-1, -1, 16)),
    ],
)
def test_text_models_take_any_batch_and_length(tmp_path: Path, build: Callable[[], Any], output: tuple[int]) -> None:
    model = load(save(build, tmp_path / "m"), tmp_path / "work")
    assert [(spec.name, spec.datatype, spec.shape) for spec in model.inputs] == [
        ("input_ids", "INT64", (-1, -1)),
        ("attention_mask", "INT64", (-1, -1)),
    ]
    assert [(spec.name, spec.shape) for spec in model.outputs] == [("logits", output)]
    assert model.source_format == "Transformers"
    tokens = np.arange(27).reshape(3, 9)
    kind = type(build())
    mask = torch.ones_like(torch.from_numpy(tokens))
    original = kind.from_pretrained(tmp_path / "m").eval()(input_ids=torch.from_numpy(tokens), attention_mask=mask)[0]
    got = Session(model.path, 1).run({"input_ids": tokens, "attention_mask": np.ones_like(tokens)})[0]
    assert np.allclose(got, original.detach().numpy(), atol=1e-5)


def test_what_has_a_decoder_takes_its_words_too(tmp_path: Path) -> None:
    model = load(save(t5, tmp_path / "m"), tmp_path / "work")
    assert [spec.name for spec in model.inputs] == ["input_ids", "attention_mask", "decoder_input_ids"]
    assert [spec.shape for spec in model.inputs] == [(-1, -1)] * 3
    tokens, words = np.arange(10).reshape(2, 5), np.arange(6).reshape(2, 3)
    feed = {"input_ids": tokens, "attention_mask": np.ones_like(tokens), "decoder_input_ids": words}
    loaded = transformers.T5ForConditionalGeneration.from_pretrained(tmp_path / "m").eval()
    original = loaded(**{name: torch.from_numpy(array) for name, array in feed.items()}).logits
    assert np.allclose(Session(model.path, 1).run(feed)[0], original.detach().numpy(), atol=1e-5)


def test_speech_has_the_length_that_its_config_says(tmp_path: Path) -> None:
    model = load(save(whisper, tmp_path / "m"), tmp_path / "work")
    assert [(spec.name, spec.shape) for spec in model.inputs] == [
        ("input_features", (-1, 8, 40)),
        ("decoder_input_ids", (-1, -1)),
    ]
    assert [(spec.name, spec.shape) for spec in model.outputs] == [("logits", (-1, -1, 60))]


def test_two_towers_embed_rows_that_do_not_meet(tmp_path: Path) -> None:
    model = load(save(clip, tmp_path / "m"), tmp_path / "work")
    assert [spec.name for spec in model.inputs] == ["input_ids", "attention_mask", "pixel_values"]
    assert [(spec.name, spec.shape) for spec in model.outputs] == [
        ("text_embeds", (-1, 12)),
        ("image_embeds", (-1, 12)),
    ]
    rng = np.random.default_rng(0)
    feed: Feed = {
        "input_ids": rng.integers(3, 60, (3, 7)),
        "attention_mask": np.ones((3, 7), np.int64),
        "pixel_values": rng.normal(size=(3, 3, 16, 16)).astype(np.float32),
    }
    session = Session(model.path, 1)
    for together, alone in zip(
        session.run(feed), session.run({name: array[:1] for name, array in feed.items()}), strict=True
    ):
        assert np.allclose(together[:1], alone, atol=1e-5)


def test_a_graph_that_the_older_exporter_gets_wrong_is_captured_by_the_current_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here it takes the batch for a constant."""
    honest = Signature.open_axes
    asked: list[bool] = []

    def closed(signature: Signature) -> dict[str, dict[int, str]]:
        asked.append(True)
        return honest(signature) if len(asked) > 1 else {}

    monkeypatch.setattr(Signature, "open_axes", closed)
    model = load(save(partial(vit, 1), tmp_path / "m"), tmp_path / "work")
    assert len(asked) == 2
    assert [spec.shape for spec in model.inputs] == [(-1, 1, 16, 16)]


def test_an_image_model_in_an_archive(tmp_path: Path) -> None:
    folder = save(vit, tmp_path / "m", shard="8KB")
    files = {f"vit/{path.name}": path.read_bytes() for path in folder.iterdir()}
    assert sum(name.endswith(".safetensors") for name in files) > 1
    model = load(tar_files(tmp_path / "m.tgz", files, "w:gz"), tmp_path / "work")
    assert model.inputs == (TensorSpec(name="pixel_values", datatype="FP32", shape=(-1, 1, 16, 16)),)
    assert model.outputs[0].shape == (-1, 4)


def test_a_dataset_states_length_and_inputs(tmp_path: Path, folder: Path) -> None:
    shown = (TensorSpec(name="input_ids", datatype="INT64", shape=(-1, 12)),)
    model = load(folder, tmp_path / "work", shown=shown)
    assert model.inputs == shown


@pytest.mark.parametrize(
    ("entries", "reason", "words"),
    [
        ({"auto_map": {"AutoModel": "code.Net"}}, "InvalidModel", "own code"),
        ({"text_config": {"auto_map": {"AutoModel": "code.Net"}}}, "InvalidModel", "own code"),
        ({"architectures": ["os"]}, "UnsupportedModel", "'os' is not one of transformers"),
        ({"architectures": ["pipeline"]}, "UnsupportedModel", "'pipeline'"),
        ({"architectures": ["__class__"]}, "UnsupportedModel", "'__class__'"),
        ({"architectures": ["T5ForConditionalGeneration"]}, "InvalidModel", "cannot be loaded"),
        ({"architectures": None}, "InvalidModel", "names no architecture"),
        ({"num_hidden_layers": 10**6}, "InvalidModel", "num_hidden_layers 1000000"),
        ({"vocab_size": 10**9}, "InvalidModel", "do not belong together"),
        ({"hidden_size": "wide"}, "InvalidModel", "cannot be loaded"),
        ({"num_hidden_layers": 3}, "InvalidModel", "lacks 16 of its weights"),
        ({"quantization_config": {"quant_method": "gptq"}}, "UnsupportedModel", "quantized already"),
        ({"use_pretrained_backbone": True}, "UnsupportedModel", "backbone"),
    ],
)
def test_configs_that_ask_for_more_than_a_model(
    tmp_path: Path, folder: Path, entries: dict[str, Any], reason: str, words: str
) -> None:
    edit(folder, **entries)
    error = fail(folder, tmp_path / "work")
    assert (error.reason, words in error.message) == (reason, True), error.message


def test_only_pickled_weights_are_refused_with_how_to_save_others(tmp_path: Path, folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    torch.save(bert().state_dict(), folder / "pytorch_model.bin")
    error = fail(folder, tmp_path / "work")
    assert (error.reason, "safe_serialization=True" in error.message) == ("InvalidModel", True)


def test_damaged_weights_are_named(tmp_path: Path, folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    assert "model.safetensors are damaged or cut short" in fail(folder, tmp_path / "work").message


@pytest.mark.parametrize("name", ["../bert/model.safetensors", "/etc/passwd", "none.safetensors"])
def test_an_index_that_leads_elsewhere_is_refused(tmp_path: Path, folder: Path, name: str) -> None:
    index = {"metadata": {}, "weight_map": {"classifier.weight": name}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert "not in its folder" in fail(folder, tmp_path / "work").message


def test_an_adapter_is_not_a_model(tmp_path: Path, folder: Path) -> None:
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "someone/else"}')
    assert "merge it" in fail(folder, tmp_path / "work").message


@pytest.mark.parametrize("content", ["{", "[]", "[" * 100_000])
def test_a_config_that_is_no_config(tmp_path: Path, folder: Path, content: str) -> None:
    (folder / "config.json").write_text(content)
    assert "config.json of the model cannot be read" in fail(folder, tmp_path / "work").message


def test_images_of_any_size_need_one_to_be_stated(tmp_path: Path) -> None:
    def resnet() -> Any:
        config = transformers.ResNetConfig(embedding_size=8, hidden_sizes=[8, 8], depths=[1, 1], layer_type="basic")
        return transformers.ResNetForImageClassification(config)

    folder = save(resnet, tmp_path / "m")
    error = fail(folder, tmp_path / "work")
    assert (error.reason, "pixel_values with shape" in error.message) == ("InvalidTask", True)
    hint = TensorSpec(name="pixel_values", datatype="FP32", shape=(-1, 3, 32, 32))
    assert load(folder, tmp_path / "work", hint).inputs == (hint,)
