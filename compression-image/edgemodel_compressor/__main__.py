"""``edgemodel-compress``: the compression Job with ``--task``, the command line otherwise."""

import argparse
import os
import signal
import sys
from dataclasses import replace
from types import FrameType
from typing import NoReturn

from edgemodel_compressor import arguments
from edgemodel_compressor.errors import TaskError
from edgemodel_compressor.settings import Settings, read_settings
from edgemodel_contract.result import EXIT_BAD_INPUT

_EXIT_INTERRUPTED = 128 + signal.SIGINT


def main(argv: list[str] | None = None) -> int:
    """Run the program and return its exit code."""
    options = arguments.parse(argv)
    signal.signal(signal.SIGTERM, _terminate)
    try:
        return _dispatch(options, read_settings(os.environ))
    except TaskError as error:
        print(f"edgemodel-compress: {error.message}", file=sys.stderr)
        return EXIT_BAD_INPUT
    except KeyboardInterrupt:
        print("edgemodel-compress: interrupted; nothing was written", file=sys.stderr)
        return _EXIT_INTERRUPTED


def _dispatch(options: argparse.Namespace, settings: Settings) -> int:
    # Imported here, so that --help and a mistyped option answer without loading ONNX Runtime.
    if options.task:
        from edgemodel_compressor.job import run_job

        # The root file system of a Job is read-only, and the libraries' temporary files need a place as well.
        if os.access(settings.work_dir, os.W_OK):
            os.environ.setdefault("TMPDIR", str(settings.work_dir))
        if options.termination_log:
            settings = replace(settings, termination_log=options.termination_log)
        return run_job(options.task, settings)
    from edgemodel_compressor.commandline import run_commandline

    return run_commandline(options, settings)


def _terminate(number: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG001
    """Leave through every finally, so that temporary files go too."""
    raise SystemExit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
