"""``edgemodel-operator``: read the settings, set up logging, watch until a signal."""

import argparse
import gc
import importlib.metadata
import logging
import os
import sys

from edgemodel_contract.settings import SettingsError, describe, read_settings
from edgemodel_operator import handlers
from edgemodel_operator.settings import Settings


def main() -> int:
    """Entry point. Exit code 2 for settings that are missing or malformed."""
    parser = argparse.ArgumentParser(
        prog="edgemodel-operator",
        description="Takes every EdgeModel of a cluster from a trained model to inference servers on all edge sites.",
        epilog=f"Settings, from environment variables:\n{describe(Settings)}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=importlib.metadata.version("edgemodel"))
    parser.parse_args()
    try:
        settings = read_settings(Settings, os.environ)
    except SettingsError as error:
        print(f"edgemodel-operator: {error}", file=sys.stderr)
        return 2
    handlers.configure_logging(json=settings.log_format == "json")
    logging.getLogger(__name__).info(
        "compressing with %s, serving with %s, pushing to %s",
        settings.compression_image,
        settings.inference_image,
        settings.repository,
    )
    # Every watch event makes a tree of objects, and reference counts take nearly all of them away again: looking for
    # cycles as often as Python does by itself took a tenth of the operator's time.
    gc.set_threshold(10_000, 10, 10)
    handlers.run(settings)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
