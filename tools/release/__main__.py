"""`python -m tools.release`: write `install.yaml` and the Helm chart of a version."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path

from .chart import CHART, write_chart
from .installation import PROJECT_VERSION, Images, installation
from .kustomization import manifest

HEADER = """\
# EdgeModel {version}: kubectl apply -f install.yaml
# Before that, name in the ConfigMap edgemodel-operator the repository that your Jobs push to and your nodes pull from.
---
"""


def main(arguments: list[str] | None = None) -> int:
    """Entry point. Exit code 2 for arguments that do not fit."""
    parser = argparse.ArgumentParser(prog="python -m tools.release", description=__doc__)
    parser.add_argument("folder", type=Path, help="where install.yaml and the chart's folder are written")
    parser.add_argument("--registry", default="registry.example.com/edgemodel", help="where the images are")
    for name in ("operator", "compression", "inference"):
        parser.add_argument(
            f"--{name}", metavar="REFERENCE", help=f"the {name} image, by digest; instead of --registry"
        )
    options = parser.parse_args(arguments)
    named = {name: value for name in ("operator", "compression", "inference") if (value := getattr(options, name))}
    images = dataclasses.replace(Images.tagged(options.registry, PROJECT_VERSION), **named)
    options.folder.mkdir(parents=True, exist_ok=True)
    (options.folder / "install.yaml").write_text(
        HEADER.format(version=PROJECT_VERSION) + manifest(installation(images))
    )
    write_chart(options.folder / CHART, PROJECT_VERSION, images)
    print(f"{options.folder / 'install.yaml'}, {options.folder / CHART}: version {PROJECT_VERSION}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
