"""Command line of the inference server."""

import argparse
import os
import sys
import time
from typing import NoReturn

EXIT_FAILED = 1
EXIT_BAD_INPUT = 2


def main() -> None:
    """Serve the model folder until told to stop. Exits 0 after a drain, 2 if settings or model cannot be used."""
    started = time.perf_counter()
    # Imported here, so that the time to ready, which is logged, includes the time they take to load.
    from edgemodel_server.errors import ModelError
    from edgemodel_server.observability.logs import configure_logging
    from edgemodel_server.observability.tracing import DESCRIPTION
    from edgemodel_server.settings import SettingsError, describe_settings, read_settings

    argparse.ArgumentParser(
        prog="edgemodel-serve",
        description="Serve the ONNX model of a folder over HTTP (Open Inference Protocol v2, and POST /predict).",
        epilog=f"settings, as environment variables:\n{describe_settings()}\n{DESCRIPTION}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    ).parse_args()
    try:
        settings = read_settings(os.environ)
    except SettingsError as error:
        _fail(str(error), EXIT_BAD_INPUT)
    configure_logging()

    import uvloop

    from edgemodel_server.access.tls import CertificateError
    from edgemodel_server.http.server import listen
    from edgemodel_server.process import serve

    address = settings.listen
    try:
        listener = listen(address)
        admin = None
        if settings.admin_listen:
            address = settings.admin_listen
            admin = listen(address)
    except OSError as error:
        _fail(f"cannot listen on {address[0]}:{address[1]}: {error.strerror}", EXIT_FAILED)
    try:
        uvloop.run(serve(settings, listener, admin, started))
    except (ModelError, CertificateError, SettingsError) as error:
        _fail(str(error), EXIT_BAD_INPUT)
    except OSError as error:
        _fail(f"{error} ({error.filename})" if error.filename else str(error), EXIT_FAILED)


def _fail(sentence: str, status: int) -> NoReturn:
    print(f"edgemodel-serve: {sentence}", file=sys.stderr)
    raise SystemExit(status)


if __name__ == "__main__":
    main()
