"""What decides whether an image is up to date, and what a build is given: all without building."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tools.localcluster.errors import ClusterError
from tools.localcluster.images import building as images
from tools.localcluster.images.buildah import choose_mirror, superseded
from tools.localcluster.images.inputs import content_key, copied_sources
from tools.localcluster.images.pip_settings import inside_build
from tools.localcluster.system.progress import Progress, Step

DOCKERFILE = """\
# COPY comment.txt /
ARG BASE_IMAGE=python:3.11-slim-bookworm
FROM ${BASE_IMAGE} AS build
COPY pyproject.toml README.md /src/
COPY --chown=0:0 package \\
     other /src/
COPY ["a file.txt", "/src/"]
ADD https://example.org/x.tar /src/
FROM ${BASE_IMAGE}
COPY --from=build /opt /opt
"""


@pytest.fixture
def context(tmp_path: Path) -> Path:
    for name in ("pyproject.toml", "README.md", "a file.txt", "package/code.py", "other/x.py", "unrelated.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "image").mkdir()
    (tmp_path / "image/Dockerfile").write_text(DOCKERFILE)
    return tmp_path


class TestContentKey:
    def test_only_context_files_are_inputs(self) -> None:
        assert copied_sources(DOCKERFILE) == ["pyproject.toml", "README.md", "package", "other", "a file.txt"]

    @pytest.mark.parametrize("changed", ["pyproject.toml", "a file.txt", "package/code.py", "image/Dockerfile"])
    def test_changes_with_each_input(self, context: Path, changed: str) -> None:
        before = content_key(context, "image/Dockerfile")
        (context / changed).write_text((context / changed).read_text() + "\n# more")
        assert content_key(context, "image/Dockerfile") != before

    def test_changes_with_a_new_file_in_a_copied_folder_and_with_a_renamed_one(self, context: Path) -> None:
        keys = [content_key(context, "image/Dockerfile")]
        (context / "package/new.py").write_text("")
        keys.append(content_key(context, "image/Dockerfile"))
        (context / "package/new.py").rename(context / "package/newer.py")
        keys.append(content_key(context, "image/Dockerfile"))
        assert len(set(keys)) == 3

    def test_changes_with_what_the_builder_adds(self, context: Path) -> None:
        assert content_key(context, "image/Dockerfile", "base 1") != content_key(context, "image/Dockerfile", "base 2")

    def test_is_blind_to_other_files_and_to_byte_code(self, context: Path) -> None:
        before = content_key(context, "image/Dockerfile")
        (context / "unrelated.py").write_text("changed")
        (context / "package/__pycache__").mkdir()
        (context / "package/__pycache__/code.pyc").write_bytes(b"\0")
        assert content_key(context, "image/Dockerfile") == before

    def test_names_a_missing_input(self, context: Path) -> None:
        (context / "README.md").unlink()
        with pytest.raises(ClusterError, match=r"image/Dockerfile copies README\.md"):
            content_key(context, "image/Dockerfile")

    def test_names_a_missing_dockerfile(self, context: Path) -> None:
        with pytest.raises(ClusterError, match="no absent/Dockerfile"):
            content_key(context, "absent/Dockerfile")


class TestRepository:
    @pytest.mark.parametrize("name", images.DOCKERFILES)
    def test_every_image_has_a_dockerfile_whose_inputs_exist(self, name: str) -> None:
        assert content_key(images.CONTEXT, images.DOCKERFILES[name])


class TestPipSettings:
    def test_folders_are_mounted_and_renamed(self, tmp_path: Path) -> None:
        wheels, index = tmp_path / "wheels", tmp_path / "mirror" / "simple"
        wheels.mkdir()
        index.mkdir(parents=True)
        settings = inside_build(
            f"global.find-links='{wheels}'\nglobal.extra-index-url='file://{index} https://example.org/simple'\n",
            "/root/mounts",
        )
        assert settings.mounts == {"/root/mounts/0": wheels, "/root/mounts/1": index.parent}
        assert settings.text.split() == [
            *("[global]", "find-links", "=", "/root/mounts/0"),
            *("extra-index-url", "=", "file:///root/mounts/1/simple", "https://example.org/simple"),
        ]

    def test_variables_win_over_files_and_sections_stay(self) -> None:
        listing = ":env:.index-url='https://b'\nglobal.index-url='https://a'\ninstall.trusted-host='c'\n"
        text = inside_build(listing, "/m").text
        assert text.split() == ["[global]", "index-url", "=", "https://b", "[install]", "trusted-host", "=", "c"]

    def test_options_about_this_machine_stay_out(self) -> None:
        settings = inside_build("global.cache-dir='/c'\n:env:.target='/t'\ninstall.user='true'\n", "/m")
        assert (settings.text.strip(), settings.mounts) == ("", {})

    def test_a_private_ca_is_mounted_as_a_file(self, tmp_path: Path) -> None:
        ca = tmp_path / "ca.crt"
        ca.write_text("")
        settings = inside_build(f":env:.cert='{ca}'\n", "/m")
        assert settings.mounts == {"/m/0": ca}
        assert "cert = /m/0" in settings.text


class TestMirror:
    def test_is_the_machines_own(self) -> None:
        targets = "\n".join(
            (
                "Ubuntu main noble http://ubuntu.example",
                "Debian main bookworm-security http://security.example/debian-security",
                "Debian contrib bookworm http://contrib.example",
                "Debian main bookworm https://mirror.example/debian",
            )
        )
        assert choose_mirror(targets) == "https://mirror.example/debian"

    def test_none_is_a_sentence(self) -> None:
        with pytest.raises(ClusterError, match="apt-get update"):
            choose_mirror("Ubuntu main noble http://ubuntu.example\n")


class TestSuperseded:
    def test_the_oldest_of_the_same_repository_go(self) -> None:
        listed: list[dict[str, Any]] = [
            {"names": ["localhost/edgemodel/operator:b"], "createdatraw": "2026-01-02T00:00:00Z"},
            {"names": ["localhost/edgemodel/operator:a"], "createdatraw": "2026-01-01T00:00:00Z"},
            {"names": ["localhost/edgemodel/operator:c"], "createdatraw": "2026-01-03T00:00:00Z"},
            {"names": ["localhost/edgemodel/base:a"], "createdatraw": "2025-01-01T00:00:00Z"},
            {"createdatraw": "2025-01-01T00:00:00Z"},
        ]
        assert superseded(listed, "localhost/edgemodel/operator:c", 2) == ["localhost/edgemodel/operator:a"]


class FakeRegistry:
    """Images by `repository:tag`; answers as the registry API does."""

    name = "registry.example:5000"
    host_endpoint = "http://registry.example:5000"

    def __init__(self) -> None:
        self.images: dict[str, str] = {}

    def answer(self, request: httpx.Request) -> httpx.Response:
        _, _, rest = request.url.path.partition("/v2/")
        repository, _, tag = rest.partition("/manifests/")
        digest = self.images.get(f"{repository}:{tag}")
        if digest is None:
            return httpx.Response(404)
        manifest = json.dumps({"layers": [{"size": 2_000_000}, {"size": 1_000_000}]})
        return httpx.Response(200, text=manifest, headers={"Docker-Content-Digest": digest})


class FakeBuilder:
    variant = "fake"

    def __init__(self, registry: FakeRegistry) -> None:
        self.registry = registry
        self.storage: set[str] = set()
        self.did: list[str] = []

    def has(self, image: str) -> bool:
        return image in self.storage

    def prepare(self) -> None:
        self.did.append("prepare")

    def build(self, image: str, _context: Path, dockerfile: str, _step: Step) -> None:
        self.did.append(f"build {dockerfile}")
        self.storage.add(image)

    def push(self, _image: str, target: str, _step: Step) -> None:
        self.did.append("push")
        self.registry.images[target.removeprefix(f"{self.registry.name}/")] = f"sha256:{len(self.did):064d}"

    def unpacked_bytes(self, image: str) -> int:
        assert image in self.storage
        return 311_000_000


@pytest.fixture
def builder(context: Path, monkeypatch: pytest.MonkeyPatch) -> FakeBuilder:
    registry = FakeRegistry()
    fake = FakeBuilder(registry)
    transport = httpx.MockTransport(registry.answer)

    def get(url: str, **_options: object) -> httpx.Response:
        with httpx.Client(transport=transport) as client:
            return client.get(url)

    @contextlib.contextmanager
    def session(_progress: Progress) -> Iterator[FakeBuilder]:
        yield fake

    monkeypatch.setenv("XDG_CACHE_HOME", str(context / "cache"))
    monkeypatch.setattr(httpx, "get", get)
    monkeypatch.setattr(images, "CONTEXT", context)
    monkeypatch.setattr(images, "DOCKERFILES", {"inference": "image/Dockerfile"})
    monkeypatch.setattr(images, "_builder", session)
    return fake


class TestBuild:
    def test_builds_pushes_and_answers_by_digest(self, builder: FakeBuilder) -> None:
        references = images.build(builder.registry)
        assert builder.did == ["prepare", "build image/Dockerfile", "push"]
        assert references == {"inference": f"registry.example:5000/edgemodel/inference@sha256:{3:064d}"}

    def test_what_is_up_to_date_is_left_alone(self, builder: FakeBuilder) -> None:
        first = images.build(builder.registry)
        builder.did.clear()
        assert images.build(builder.registry) == first
        assert builder.did == []

    def test_a_changed_file_is_built_again(self, builder: FakeBuilder, context: Path) -> None:
        first = images.build(builder.registry)
        (context / "package/code.py").write_text("changed")
        assert images.build(builder.registry) != first

    def test_a_wiped_registry_is_filled_without_a_build(self, builder: FakeBuilder) -> None:
        images.build(builder.registry)
        builder.did.clear()
        builder.registry.images.clear()
        images.build(builder.registry)
        assert builder.did == ["push"]

    def test_a_push_that_goes_nowhere_is_an_error(self, builder: FakeBuilder, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(builder, "push", lambda *_: None)
        with pytest.raises(ClusterError, match="does not have it now"):
            images.build(builder.registry)

    def test_an_unknown_name_is_named(self, builder: FakeBuilder) -> None:
        with pytest.raises(ClusterError, match="no image inferense; there are inference"):
            images.build(builder.registry, only=["inferense"])


class TestUnpackedBytes:
    def test_an_image_is_built_for_it_once(self, builder: FakeBuilder, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(shutil, "which", lambda program: f"/bin/{program}" if program == "buildah" else None)
        for _ in range(2):
            assert images.unpacked_bytes("inference", Progress()) == 311_000_000
            assert builder.did == ["prepare", "build image/Dockerfile"]

    def test_where_nothing_builds_images_a_sentence_says_so(
        self, builder: FakeBuilder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(shutil, "which", lambda _: None)
        with pytest.raises(ClusterError, match="neither a Docker engine nor buildah"):
            images.unpacked_bytes("inference", Progress())
        assert builder.did == []


class TestLookUp:
    def test_a_registry_that_is_down_is_a_sentence(self, unused_tcp_port: int) -> None:
        registry = FakeRegistry()
        registry.host_endpoint = f"http://127.0.0.1:{unused_tcp_port}"
        with pytest.raises(ClusterError, match="is the cluster up"):
            images.look_up(registry, "edgemodel/inference", "tag")
