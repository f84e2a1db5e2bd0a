"""The model layer and the image documents: reproducible, in the base's own dialect."""

import gzip
import io
import json
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest

from edgemodel_compressor.registry.client import Descriptor, Manifest, sha256
from edgemodel_compressor.registry.image import ImageError, check_base, choose_platform, compose
from edgemodel_compressor.registry.layer import build_layer
from tests.unit.compressor.images import DOCKER, OCI, OCI_INDEX

LAYER = Descriptor("", "sha256:" + "1" * 64, 10)


def manifest(body: dict[str, Any], media_type: str = OCI) -> Manifest:
    data = json.dumps(body).encode()
    return Manifest(media_type, data, sha256(data))


def config(**changes: Any) -> bytes:
    value = {
        "os": "linux",
        "architecture": "arm64",
        "variant": "v8",
        "created": "2025-01-02T03:04:05Z",
        "config": {"Cmd": ["serve"]},
        "rootfs": {"type": "layers", "diff_ids": ["sha256:" + "2" * 64]},
        "history": [{"created_by": "base"}],
        "x-unknown": {"kept": True},
    }
    return json.dumps({**value, **changes}).encode()


def base(media_type: str = OCI, **changes: Any) -> Manifest:
    layer = {"mediaType": "layer", "digest": "sha256:" + "3" * 64, "size": 7}
    body: dict[str, Any] = {
        "schemaVersion": 2,
        "config": {"digest": "sha256:" + "4" * 64, "size": 1},
        "layers": [layer],
    }
    return manifest({**body, "mediaType": media_type, **changes}, media_type)


class TestLayer:
    def test_the_same_files_give_the_same_bytes_whatever_their_times(self, tmp_path: Path) -> None:
        model = tmp_path / "m.onnx"
        model.write_bytes(b"model" * 1000)
        first = build_layer({"model.onnx": model, "card.json": b"{}"}, tmp_path / "first.tar.gz")
        os.utime(model, (1, 1))
        model.chmod(0o600)
        second = build_layer({"card.json": b"{}", "model.onnx": model}, tmp_path / "second.tar.gz")
        assert first.path.read_bytes() == second.path.read_bytes()
        assert (first.digest, first.diff_id, first.size) == (second.digest, second.diff_id, second.size)

    def test_its_digests_are_those_of_the_gzip_and_of_the_tar_inside(self, tmp_path: Path) -> None:
        layer = build_layer({"card.json": b"{}"}, tmp_path / "l.tar.gz")
        data = layer.path.read_bytes()
        assert layer.digest == sha256(data)
        assert layer.diff_id == sha256(gzip.decompress(data))
        assert layer.size == len(data)

    def test_folders_come_before_their_files(self, tmp_path: Path) -> None:
        layer = build_layer({"b": b"", "a": b""}, tmp_path / "l.tar.gz")
        with tarfile.open(fileobj=io.BytesIO(layer.path.read_bytes())) as archive:
            names = archive.getnames()
        assert names == ["edgemodel", "edgemodel/model", "edgemodel/model/a", "edgemodel/model/b"]


class TestPlatform:
    @pytest.fixture
    def index(self) -> Manifest:
        def entry(digit: str, **platform: str) -> dict[str, Any]:
            return {"digest": "sha256:" + digit * 64, "size": 1, "platform": platform}

        entries = [
            entry("0", os="unknown", architecture="unknown"),
            entry("1", os="linux", architecture="amd64"),
            entry("2", os="linux", architecture="arm", variant="v6"),
            entry("3", os="linux", architecture="arm", variant="v7"),
        ]
        return manifest({"manifests": entries}, OCI_INDEX)

    @pytest.mark.parametrize(("platform", "digit"), [("linux/amd64", "1"), ("linux/arm/v7", "3"), ("linux/arm", "2")])
    def test_the_first_that_fits_is_chosen(self, index: Manifest, platform: str, digit: str) -> None:
        assert choose_platform(index, platform) == "sha256:" + digit * 64

    def test_if_none_fits_those_there_are_are_named(self, index: Manifest) -> None:
        with pytest.raises(ImageError, match="only for linux/amd64, linux/arm/v6, linux/arm/v7"):
            choose_platform(index, "linux/s390x")


class TestBase:
    def test_an_image_for_the_platform_is_accepted(self) -> None:
        for platform in ("linux/arm64", "linux/arm64/v8"):
            assert len(check_base(base(), config(), platform).layers) == 1

    @pytest.mark.parametrize(
        ("document", "configuration", "words"),
        [
            (base("application/x"), config(), "is a application/x, not an image"),
            (base(), b"{}", "artifact"),
            (base(), b"[]", "artifact"),
            (base(), b"no json", "artifact"),
            (base(), config(architecture="amd64", variant=""), "linux/amd64, not for linux/arm64"),
            (base(layers=[]), config(), "disagree"),
            (base(layers=[{"size": 1}]), config(), "malformed"),
            (
                base(layers=[{"mediaType": "a.foreign.b", "digest": "sha256:" + "3" * 64, "size": 7}]),
                config(),
                "may not be copied",
            ),
        ],
    )
    def test_what_cannot_carry_a_model_says_why(self, document: Manifest, configuration: bytes, words: str) -> None:
        with pytest.raises(ImageError, match=words):
            check_base(document, configuration, "linux/arm64")


class TestCompose:
    @pytest.mark.parametrize(
        ("media_type", "layer_type", "config_type"),
        [
            (
                OCI,
                "application/vnd.oci.image.layer.v1.tar+gzip",
                "application/vnd.oci.image.config.v1+json",
            ),
            (
                DOCKER,
                "application/vnd.docker.image.rootfs.diff.tar.gzip",
                "application/vnd.docker.container.image.v1+json",
            ),
        ],
    )
    def test_the_new_parts_have_the_types_of_the_base(self, media_type: str, layer_type: str, config_type: str) -> None:
        image = compose(check_base(base(media_type), config(), "linux/arm64"), LAYER, "sha256:5", {"k": "v"})
        body = json.loads(image.manifest)
        assert (image.media_type, body["mediaType"]) == (media_type, media_type)
        assert body["layers"][-1] == {"mediaType": layer_type, "digest": LAYER.digest, "size": 10}
        assert body["config"]["mediaType"] == config_type
        assert body["config"]["digest"] == sha256(image.config)
        assert ("annotations" in body) == (media_type == OCI)

    def test_the_configuration_is_the_bases_with_one_layer_more(self) -> None:
        image = compose(check_base(base(), config(), "linux/arm64"), LAYER, "sha256:5", {"k": "v"})
        value = json.loads(image.config)
        assert value["rootfs"]["diff_ids"] == ["sha256:" + "2" * 64, "sha256:5"]
        assert value["history"] == [
            {"created_by": "base"},
            {"created_by": "edgemodel-compress", "created": "2025-01-02T03:04:05Z"},
        ]
        assert value["config"] == {"Cmd": ["serve"], "Labels": {"k": "v"}}
        assert value["created"] == "2025-01-02T03:04:05Z"
        assert value["x-unknown"] == {"kept": True}

    def test_a_base_without_history_gets_none(self) -> None:
        value = json.loads(config())
        del value["history"]
        image = compose(check_base(base(), json.dumps(value).encode(), "linux/arm64"), LAYER, "sha256:5", {})
        assert "history" not in json.loads(image.config)

    def test_annotations_of_the_base_are_kept(self) -> None:
        document = base(annotations={"a": "1", "k": "old"})
        image = compose(check_base(document, config(), "linux/arm64"), LAYER, "sha256:5", {"k": "v"})
        assert json.loads(image.manifest)["annotations"] == {"a": "1", "k": "v"}
