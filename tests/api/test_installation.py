"""The ways to install: one file, kustomize and the chart make the same of manifests/base."""

from pathlib import Path

import pytest
import yaml

from tests.api.conftest import BASE
from tools.localcluster.native.control_plane import ControlPlane
from tools.release.kustomization import Object, build, manifest

pytestmark = [pytest.mark.api]


def test_one_file_is_what_kustomize_makes(plane: ControlPlane) -> None:
    made = list(yaml.safe_load_all(plane.kubectl("kustomize", BASE).stdout))
    assert {_name(obj): obj for obj in build(BASE)} == {_name(obj): obj for obj in made}


def test_one_file_over_kustomize_changes_nothing(plane: ControlPlane, tmp_path: Path) -> None:
    """The API server's word for it: whoever changes from one way to the other has nothing rolled out."""
    file = tmp_path / "install.yaml"
    file.write_text(manifest(obj for obj in build(BASE) if obj["kind"] != "CustomResourceDefinition"))
    done = plane.kubectl.apply("-f", file)
    assert done.stderr == ""
    assert {line.rpartition(" ")[2] for line in done.stdout.splitlines()} == {"unchanged"}


def _name(obj: Object) -> tuple[str, str]:
    return obj["kind"], obj["metadata"]["name"]
