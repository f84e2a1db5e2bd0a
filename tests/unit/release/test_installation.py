"""install.yaml: one file, with the images of a version."""

from pathlib import Path

import pytest
import yaml

from tools.release.__main__ import main
from tools.release.installation import BASE, pod, settings
from tools.release.kustomization import KustomizationError, build

DIGEST = f"@sha256:{'1' * 64}"


def test_it_names_the_images_of_one_version(tmp_path: Path) -> None:
    operator = f"ghcr.test/edgemodel/operator{DIGEST}"
    assert main([str(tmp_path / "out"), "--registry", "ghcr.test/edgemodel", "--operator", operator]) == 0
    objects = list(yaml.safe_load_all((tmp_path / "out" / "install.yaml").read_text()))
    (container,) = pod(objects)["containers"]
    assert container["image"] == operator
    assert settings(objects)["EDGEMODEL_INFERENCE_IMAGE"].startswith("ghcr.test/edgemodel/inference:")
    assert settings(objects)["EDGEMODEL_REPOSITORY"] == "ghcr.test/edgemodel/models"


def test_namespace_and_definition_come_before_what_needs_them() -> None:
    kinds = [obj["kind"] for obj in build(BASE)]
    assert kinds[:2] == ["Namespace", "CustomResourceDefinition"]
    assert len(kinds) > 8


@pytest.mark.parametrize("extra", ["namePrefix: x-", "labels: [{pairs: {a: b}, includeSelectors: true}]"])
def test_what_the_builder_does_not_know_is_refused(tmp_path: Path, extra: str) -> None:
    (tmp_path / "kustomization.yaml").write_text(f"resources: []\n{extra}\n")
    with pytest.raises(KustomizationError, match=r"not understood|only pairs"):
        build(tmp_path)
