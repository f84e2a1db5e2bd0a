"""`python -m tools.localcluster.images [inference compression operator]`: builds the images and pushes them."""

from __future__ import annotations

import argparse
import sys

from tools.localcluster import load
from tools.localcluster.errors import ClusterError
from tools.localcluster.images import DOCKERFILES, build


def main() -> None:
    """Build what is named on the command line, into the running cluster's registry."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.localcluster.images", description="Build and push the images."
    )
    parser.add_argument("names", nargs="*", metavar="name", help=f"one of {', '.join(DOCKERFILES)}; all when absent")
    names = parser.parse_args().names
    try:
        for reference in build(load().registry, only=names or None).values():
            print(reference)
    except ClusterError as error:
        sys.exit(f"{error}")


if __name__ == "__main__":
    main()
