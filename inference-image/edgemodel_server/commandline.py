"""``edgemodel-serve MODEL``: a model on this machine, without a cluster, and what to say of it when it is ready."""

import argparse
import math
import shlex
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

import orjson

from edgemodel_contract.card import CARD_FILE, ModelCard
from edgemodel_contract.serving import DRAIN_VARIABLE, GRPC_PORT, HTTP_PORT, METRICS_PATH, MODEL_PATH, READY_PATH
from edgemodel_contract.settings import SettingsError
from edgemodel_server.page.example import example_request, example_shape
from edgemodel_server.protocol.datatypes import NUMPY
from edgemodel_server.service import Model

MAX_ELEMENTS = 64
"""A request with more elements is written as zeros in binary instead of as JSON."""
ADDRESS = "127.0.0.1"
"""A model of the command line is served to this machine alone, if the settings say nothing else."""


def parse(epilog: str) -> argparse.Namespace:
    """The arguments: ``model`` and ``port``, None where they are not given."""
    parser = argparse.ArgumentParser(
        prog="edgemodel-serve",
        description="Serve an ONNX model over HTTP (Open Inference Protocol v2; POST /predict for images) and gRPC.",
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "model",
        nargs="?",
        type=Path,
        metavar="MODEL",
        help="a folder that edgemodel-compress wrote, or an .onnx file, for which labels.txt beside it may name the "
        "classes; it is served to this machine alone, unless EDGEMODEL_LISTEN says otherwise. Without it: the folder "
        "of EDGEMODEL_MODEL_DIR",
    )
    parser.add_argument(
        "--port", type=_port, metavar="PORT", help=f"for HTTP (default {HTTP_PORT}); gRPC has the next one; 0: any free"
    )
    return parser.parse_args()


def environment(arguments: argparse.Namespace, variables: Mapping[str, str]) -> dict[str, str]:
    """``variables`` with what the arguments say. Those that are set win over what a model of the command line changes:
    it is served to this machine, its metrics beside it.

    Raises:
        SettingsError: there is no model where the arguments say.
    """
    changed = {name: value for name, value in variables.items() if value}
    host = ""
    if arguments.model is not None:
        host = ADDRESS
        changed["EDGEMODEL_MODEL_DIR"] = str(find_model(arguments.model))
        changed.setdefault("EDGEMODEL_ADMIN_LISTEN", "off")
        changed.setdefault(DRAIN_VARIABLE, "0s")
        changed.setdefault("EDGEMODEL_LISTEN", f"{host}:{HTTP_PORT}")
        changed.setdefault("EDGEMODEL_GRPC_LISTEN", f"{host}:{GRPC_PORT}")
    if arguments.port is not None:
        ports = {"EDGEMODEL_LISTEN": arguments.port, "EDGEMODEL_GRPC_LISTEN": arguments.port and arguments.port + 1}
        for name, port in ports.items():
            before = changed.get(name, f"{host}:")
            changed[name] = before if before.lower() == "off" else f"{before.rpartition(':')[0]}:{port}"
    return changed


def find_model(path: Path) -> Path:
    """``path`` if it is a file or a folder with a card; or the only .onnx file in the folder.

    Raises:
        SettingsError: there is none, or more than one.
    """
    if path.is_file() or (path / CARD_FILE).is_file():
        return path
    if not path.is_dir():
        raise SettingsError(f"there is no {path}; give an .onnx file, or a folder that edgemodel-compress wrote")
    files = sorted(path.glob("*.onnx"))
    if len(files) != 1:
        found = f"{len(files)} .onnx files; name one of them" if files else f"neither {CARD_FILE} nor an .onnx file"
        raise SettingsError(f"{path} has {found}")
    return files[0]


def made_card(card: ModelCard) -> str:
    """What a person is told of a card that nobody wrote."""
    how = card.preprocessing
    classes = f"{len(card.labels)} labels" if card.labels else "no labels (labels.txt beside it would name the classes)"
    return (
        f"{', '.join(card.files)} has no card; one was made from the file: inputs "
        f"{', '.join(spec.name for spec in card.inputs)}; images as pixel × {how.scale:.6g} in {how.layout}; {classes}"
    )


def greeting(model: Model, url: str, grpc_address: str | None) -> str:
    """What a person is told of a model that is ready at ``url``: where to look, and a request to try."""
    card = model.engine.card
    path = url + MODEL_PATH.format(name=quote(card.name, safe=""))
    lines = [
        f"{card.name} is ready",
        f"  page     {url}/",
        f"  API      {url}/docs",
        f"  model    {path}",
        f"  health   {url}{READY_PATH}   metrics {url}{METRICS_PATH}",
    ]
    if grpc_address:
        lines.append(f"  gRPC     {grpc_address}")
    lines += ["try it:", f"  {curl(card, f'{path}/infer')}"]
    if model.classifier is not None:
        lines += ["or, with an image of yours:", f"  curl -F image=@photo.png {url}/predict"]
    return "\n".join(lines)


def curl(card: ModelCard, url: str) -> str:
    """A command that sends a valid request: as JSON, or where that would be long, all zeros in binary."""
    sizes = [math.prod(example_shape(spec)) for spec in card.inputs]
    if sum(sizes) <= MAX_ELEMENTS or any(spec.datatype == "BYTES" for spec in card.inputs):
        body = shlex.quote(orjson.dumps(example_request(card)).decode())
        return f"curl -H content-type:application/json -d {body} {shlex.quote(url)}"
    bytes_of = [size * NUMPY[spec.datatype].itemsize for spec, size in zip(card.inputs, sizes, strict=True)]
    inputs = [
        {
            "name": spec.name,
            "shape": example_shape(spec),
            "datatype": spec.datatype,
            "parameters": {"binary_data_size": size},
        }
        for spec, size in zip(card.inputs, bytes_of, strict=True)
    ]
    header = orjson.dumps({"inputs": inputs}).decode()
    return (
        f"(printf %s {shlex.quote(header)}; head -c {sum(bytes_of)} /dev/zero) | curl --data-binary @- "
        f"-H inference-header-content-length:{len(header.encode())} -H content-type:application/octet-stream "
        f"{shlex.quote(url)}"
    )


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65534:
        raise argparse.ArgumentTypeError("give a number from 0 to 65534")
    return int(text)
