"""Command line of the inference server."""

import os
import sys
import time
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from edgemodel_server.service import Model

EXIT_FAILED = 1
EXIT_BAD_INPUT = 2


def main() -> None:
    """Serve a model until told to stop. Exits 0 after a drain, 2 if settings or model cannot be used."""
    started = time.perf_counter()
    # Imported here, so that the time to ready, which is logged, includes the time they take to load.
    from edgemodel_contract.settings import SettingsError, describe, read_settings
    from edgemodel_server.commandline import environment, greeting, made_card, parse
    from edgemodel_server.errors import ModelError
    from edgemodel_server.observability.logs import configure_logging
    from edgemodel_server.observability.tracing_setup import DESCRIPTION
    from edgemodel_server.settings import Settings

    arguments = parse(f"settings, as environment variables:\n{describe(Settings)}\n{DESCRIPTION}")
    try:
        settings = read_settings(Settings, environment(arguments, os.environ))
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

    def greet(model: "Model", port: int, grpc_port: int | None) -> None:
        if settings.model_dir.is_file():
            print(f"edgemodel-serve: {made_card(model.engine.card)}", file=sys.stderr, flush=True)
        host = settings.listen[0] or "localhost"
        url = f"http{'s' if settings.tls_dir else ''}://{f'[{host}]' if ':' in host else host}:{port}"
        print(greeting(model, url, f"{host}:{grpc_port}" if grpc_port else None), flush=True)

    try:
        uvloop.run(serve(settings, listener, admin, started, greet if arguments.model is not None else None))
    except (ModelError, CertificateError, SettingsError) as error:
        _fail(str(error), EXIT_BAD_INPUT)
    except OSError as error:
        _fail(f"{error} ({error.filename})" if error.filename else str(error), EXIT_FAILED)


def _fail(sentence: str, status: int) -> NoReturn:
    print(f"edgemodel-serve: {sentence}", file=sys.stderr)
    raise SystemExit(status)


if __name__ == "__main__":
    main()
