"""``edgemodel-compress``: the compression Job with ``--task``, the command line otherwise."""

import argparse
import os
import signal
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

from edgemodel_compressor.cli import arguments
from edgemodel_compressor.errors import crash
from edgemodel_compressor.job.supervisor import supervised
from edgemodel_compressor.job.termination_message import failure_code, write_result
from edgemodel_compressor.settings import Settings
from edgemodel_contract.encoding import decode
from edgemodel_contract.result import EXIT_BAD_INPUT, Failure
from edgemodel_contract.settings import SettingsError, read_settings
from edgemodel_contract.task import Task

_EXIT_INTERRUPTED = 128 + signal.SIGINT


def main(argv: list[str] | None = None) -> int:
    """Run the program and return its exit code."""
    options = arguments.parse(argv)
    try:
        settings = read_settings(Settings, os.environ)
    except SettingsError as error:
        return _say(str(error), EXIT_BAD_INPUT)
    if options.termination_log:
        settings = replace(settings, termination_log=options.termination_log)
    # The root file system of a Job is read-only, and the libraries' temporary files need a place as well.
    if options.task and os.access(settings.work_dir, os.W_OK):
        os.environ.setdefault("TMPDIR", str(settings.work_dir))
    return supervised(partial(_work, options, settings), partial(_crashed, options, settings))


def _work(options: argparse.Namespace, settings: Settings) -> int:
    try:
        # Imported here, so that --help and a mistyped option answer without loading ONNX Runtime.
        if options.task:
            from edgemodel_compressor.job.run import run_job

            return run_job(options.task, settings)
        from edgemodel_compressor.cli.commandline import run_commandline

        return run_commandline(options, settings)
    except KeyboardInterrupt:
        print("edgemodel-compress: interrupted; nothing was written", file=sys.stderr)
        return _EXIT_INTERRUPTED


def _crashed(options: argparse.Namespace, settings: Settings, number: signal.Signals) -> int:
    error = crash(number)
    if not options.task:
        return _say(error.message, failure_code(error.reason))
    return write_result(Failure(task=_digest(options.task), reason=error.reason, message=error.message), settings)


def _say(sentence: str, code: int) -> int:
    print(f"edgemodel-compress: {sentence}", file=sys.stderr)
    return code


def _digest(task_file: Path) -> str:
    try:
        return decode(task_file.read_bytes(), Task).digest
    except (OSError, ValueError):
        return ""


if __name__ == "__main__":
    sys.exit(main())
