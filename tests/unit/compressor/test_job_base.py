"""Base images: which of them a Job builds on, and those it refuses."""

from pathlib import Path

import pytest

from edgemodel_contract.task import Recipe, RegistryAccess
from tests.unit.compressor import images
from tests.unit.compressor.desk import Desk
from tests.unit.compressor.servers import docker_registry


def test_docker_base_images_stay_docker_images(desk: Desk) -> None:
    images.push_base(desk.registry, "base/docker", "v1", images.DOCKER)
    base = f"{desk.registry.host}/base/docker:v1"
    result = desk.succeed(desk.task(recipe=Recipe(mode="None"), base_image=base))
    manifest = images.pull(desk.registry, result.image).manifest
    assert manifest["mediaType"] == images.DOCKER
    assert {layer["mediaType"] for layer in manifest["layers"]} == {"application/vnd.docker.image.rootfs.diff.tar.gzip"}
    assert "annotations" not in manifest


def test_oci_images_say_on_which_base_they_stand(desk: Desk) -> None:
    task = desk.task(recipe=Recipe(mode="None"))
    manifest = images.pull(desk.registry, desk.succeed(task).image).manifest
    assert manifest["mediaType"] == images.OCI
    assert manifest["annotations"]["org.opencontainers.image.base.name"] == task.base_image
    assert manifest["annotations"]["io.edge5g.edgemodel.task"] == task.digest


@pytest.mark.parametrize("architecture", ["amd64", "arm64"])
def test_of_an_index_the_tasks_platform_is_taken(desk: Desk, architecture: str) -> None:
    images.push_index(desk.registry, "base/multi", "v1", ("amd64", "arm64"))
    base = f"{desk.registry.host}/base/multi:v1"
    task = desk.task(recipe=Recipe(mode="None"), base_image=base, platform=f"linux/{architecture}")
    image = images.pull(desk.registry, desk.succeed(task).image)
    assert image.config["architecture"] == architecture
    assert image.layers[0]["app/server.py"][1] == architecture.encode()


def test_a_base_image_in_another_registry_is_copied_over(desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    with docker_registry(tmp_path / "other") as other:
        images.push_base(other, "tools/server", "v9", content=b"elsewhere")
        desk.access = RegistryAccess(insecure=(desk.registry.host, other.host))
        task = desk.task(recipe=Recipe(mode="None"), base_image=f"{other.host}/tools/server:v9")
        image = images.pull(desk.registry, desk.succeed(task).image)
    assert image.layers[0]["app/server.py"][1] == b"elsewhere"


def test_a_base_image_that_does_not_exist_is_found_out_before_the_model_is_fetched(desk: Desk) -> None:
    task = desk.task("no-such", base_image=f"{desk.registry.host}/base/none:v1")
    failure = desk.fail(task)
    assert failure.reason == "BaseImageInvalid"
    assert "base/none:v1" in failure.message


def test_a_base_image_for_another_platform_is_refused(desk: Desk) -> None:
    failure = desk.fail(desk.task(platform="linux/s390x"))
    assert failure.reason == "BaseImageInvalid"
    assert "linux/amd64, not for linux/s390x" in failure.message


def test_an_index_without_the_platform_names_those_it_has(desk: Desk) -> None:
    images.push_index(desk.registry, "base/multi", "v1", ("amd64", "arm64"))
    base = f"{desk.registry.host}/base/multi:v1"
    failure = desk.fail(desk.task(base_image=base, platform="linux/riscv64"))
    assert failure.reason == "BaseImageInvalid"
    assert "linux/amd64, linux/arm64" in failure.message


def test_an_artifact_is_no_base_image(desk: Desk) -> None:
    images.push_artifact(desk.registry, "base/artifact", "v1", {"a.txt": b"a"})
    failure = desk.fail(desk.task(base_image=f"{desk.registry.host}/base/artifact:v1"))
    assert failure.reason == "BaseImageInvalid"
    assert "not a container image" in failure.message
