"""The options of ``edgemodel-compress``."""

import argparse
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, TypeVar, get_args

from edgemodel_contract.quality import Fidelity, Metric
from edgemodel_contract.quantity import parse_duration, parse_percent, parse_size
from edgemodel_contract.result import EXIT_BAD_INPUT
from edgemodel_contract.task import (
    CalibrationMethod,
    Datatype,
    Format,
    Mode,
    OutputRule,
    PruningMethod,
    PruningScope,
    QuantizationMethod,
    RecoveryMethod,
    Search,
    TargetCPU,
    TensorSpec,
)

T = TypeVar("T")

_WORDS = re.compile(r"[A-Z]+(?![a-z])[0-9]*|[A-Z][a-z]+[0-9]*")

_DESCRIPTION = """\
Make a trained model smaller, and show what it cost: size, latency and accuracy of the original and of every
candidate that was tried, measured on this machine.

  edgemodel-compress model.onnx --dataset digits.npz -o out/

The model is an ONNX file or folder, a torch.export program (.pt2), TorchScript, or a transformers folder with
safetensors, also as a tar, tar.gz or zip. It becomes ONNX first, and the export is compared with the original.

The dataset is an npz file with one array per model input (or x for a single input), samples first, and integer labels
y if there are any; or a Parquet file with such columns; or images in a folder per class, also as an archive. One part
of it calibrates, the rest judges. Without labels the candidates are compared with the original's answers; without a
dataset only dynamic quantization is tried and no accuracy is measured.
"""
_EPILOG = """\
out/ holds model.onnx, card.json, result.json, and what was tried in report.json and report.html (for people).
exit codes: 0 done, 1 a server could not be reached, 2 bad input, 3 no candidate meets the limits (the reports are still
written).
"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(EXIT_BAD_INPUT, f"{self.prog}: {message} (see {self.prog} --help)\n")


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line; exits with 2 and one sentence where it is wrong."""
    parser = _Parser(
        prog="edgemodel-compress",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", nargs="?", help="a path, or a URI https:// http:// oci://")
    parser.add_argument("-o", "--out", type=Path, metavar="DIR", help="folder for the result")
    parser.add_argument(
        "--from",
        dest="manifest",
        type=Path,
        metavar="YAML",
        help="take model, dataset, recipe and objectives from this EdgeModel",
    )
    parser.add_argument("--format", **_one_of(Format), help="what the model must be (default: its bytes tell)")
    parser.add_argument("--dataset", metavar="FILE", help="npz, npy, Parquet or images: a path or a URI")
    parser.add_argument("--sha256", metavar="HEX", help="expected digest of the model file")
    parser.add_argument("--name", help="model name in the card (default: the file's)")
    parser.add_argument("--class-names", metavar="A,B,…", help="class names, by comma, or a file with one per line")
    parser.add_argument(
        "--input",
        action="append",
        default=[],
        type=_input,
        metavar="NAME:TYPE:DIMS",
        help="shape of an input whose dimensions the file leaves open, as in tokens:INT64:1,128",
    )
    parser.add_argument(
        "--fix",
        action="append",
        default=[],
        type=_fixed,
        metavar="NAME=VALUE",
        help="make an input a constant of the model, as in sr=16000",
    )

    how = parser.add_argument_group("how to compress")
    how.add_argument(
        "--mode",
        **_one_of(Mode),
        help="auto tries several and chooses, manual does what the next options say, none only measures "
        "(default: manual where one of them is given, else auto)",
    )
    how.add_argument("--prune", type=_share, metavar="SHARE", help="remove this share of the weights, as in 50%%")
    how.add_argument(
        "--prune-method",
        **_one_of(PruningMethod),
        default="Magnitude",
        help="set the smallest weights to zero, or take whole channels, heads and neurons out",
    )
    how.add_argument(
        "--prune-scope", **_one_of(PruningScope), default="Global", help="over all weights, or in each layer"
    )
    how.add_argument(
        "--prune-depth",
        type=_share,
        metavar="SHARE",
        help="first take this share of the residual branches out, those that change least",
    )
    how.add_argument(
        "--recover",
        type=_count,
        metavar="EPOCHS",
        help="train the pruned model for at most so many epochs on a part of the dataset",
    )
    how.add_argument(
        "--recover-by",
        **_one_of(RecoveryMethod),
        help="learn from the labels or from the original's answers (default: distillation)",
    )
    how.add_argument("--learning-rate", type=float, metavar="RATE", help="highest of the recovery")
    how.add_argument(
        "--quantize",
        **_one_of(QuantizationMethod),
        help="integers for weights and activations (static needs a dataset), for weights alone, or half precision",
    )
    how.add_argument("--bits", type=int, choices=(4, 8), default=8, help="of one weight; 4 with weight-only")
    how.add_argument(
        "--calibration",
        **_one_of(CalibrationMethod),
        default="MinMax",
        help="how static quantization finds ranges (default: min-max)",
    )
    how.add_argument(
        "--target-cpu",
        **_one_of(TargetCPU),
        help="CPU that will serve: host, like this one, or a level (default: integers that every CPU computes right)",
    )
    how.add_argument("--threads", type=_count, default=1, help="threads it will be served with (default: 1)")
    how.add_argument(
        "--trials", type=_count, default=Search().trials, help="models that Auto builds, at most (default: %(default)s)"
    )
    how.add_argument(
        "--timeout",
        type=_quantity(parse_duration),
        default=Search().timeout,
        metavar="TIME",
        help="after which Auto begins no further model, as in 10m (default: 20m)",
    )

    limits = parser.add_argument_group("what the result must meet")
    limits.add_argument("--max-size", type=_quantity(parse_size), metavar="SIZE", help="of the model file, as in 8Mi")
    limits.add_argument("--max-latency", type=_quantity(parse_duration), metavar="TIME", help="p95, as in 10ms")
    limits.add_argument("--max-accuracy-drop", type=_quantity(parse_percent), metavar="PERCENT", help="as in 1%%")
    limits.add_argument(
        "--metric",
        **_one_of(Metric),
        help="what accuracy is (default: what the labels allow, or how close answers are to the original's)",
    )
    limits.add_argument(
        "--judge",
        type=_rule,
        action="append",
        default=[],
        metavar="OUTPUT[:METRIC][:PERCENT]",
        help="how one output is judged, and what it may lose, as in boxes:boxes:2%% (metrics: "
        f"{', '.join(map(_kebab, get_args(Fidelity)))}; default: as the graph tells); once for each",
    )

    push = parser.add_argument_group("push as an image")
    push.add_argument("--push", metavar="REPOSITORY", help="registry/path to push to")
    push.add_argument("--base-image", metavar="IMAGE", help="inference image to put the model on")
    push.add_argument("--platform", default="linux/amd64", help="of the base image (default: linux/amd64)")
    push.add_argument(
        "--insecure-registry", action="append", default=[], metavar="HOST", help="registry that speaks plain HTTP"
    )
    push.add_argument("--registry-ca", type=Path, metavar="FILE", help="private CA of registry and sources (PEM)")

    job = parser.add_argument_group("as a Kubernetes Job")
    job.add_argument("--task", type=Path, metavar="FILE", help="do the task in this file; takes no other options")
    job.add_argument("--termination-log", type=Path, metavar="FILE", help="where the result goes")

    options = parser.parse_args(arguments)
    _check(parser, options)
    return options


def _check(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    if options.task:
        if options.model:
            parser.error("give a model or --task, not both")
        return
    if options.model and options.manifest:
        parser.error("give a model or --from, not both")
    if not (options.model or options.manifest) or not options.out:
        parser.error("give a model and a folder for the result, as in: edgemodel-compress model.onnx -o out/")
    if bool(options.push) != bool(options.base_image):
        parser.error("--push and --base-image go together: the model becomes a layer on the base image")
    if options.mode == "None" and (options.prune is not None or options.prune_depth is not None or options.quantize):
        parser.error("--mode None compresses nothing; leave out --prune, --prune-depth and --quantize")
    if options.recover is None and (options.recover_by or options.learning_rate is not None):
        parser.error("--recover-by and --learning-rate say how to --recover; give it a number of epochs, as in 10")


def _one_of(names: Any) -> dict[str, Any]:
    """For an option that takes one of the ``names`` that an EdgeModel has, a Literal: written in small letters with
    dashes, as on command lines, or as in an EdgeModel.
    """
    members = {_plain(name): name for name in get_args(names)}

    def convert(text: str) -> str:
        if _plain(text) not in members:
            raise argparse.ArgumentTypeError(f"{text!r} is none of {', '.join(map(_kebab, members.values()))}")
        return str(members[_plain(text)])

    return {"type": convert, "metavar": f"{{{','.join(map(_kebab, members.values()))}}}"}


def _plain(name: str) -> str:
    return name.replace("-", "").lower()


def _kebab(name: str) -> str:
    """``WeightOnly`` as ``weight-only``, ``AVX512VNNI`` as ``avx512-vnni``."""
    return "-".join(_WORDS.findall(name)).lower()


def _share(text: str) -> float:
    try:
        share = parse_percent(text) if text.endswith("%") else float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a share: write it like 50%")
    return share


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1")
    return int(text)


def _quantity(read: Callable[[str], T]) -> Callable[[str], T]:
    def convert(text: str) -> T:
        try:
            return read(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return convert


def _fixed(text: str) -> tuple[str, tuple[float, ...]]:
    name, _, rest = text.rpartition("=")
    try:
        values = tuple(float(number) for number in rest.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} fixes no input: write it like sr=16000") from error
    if not name:
        raise argparse.ArgumentTypeError(f"{text!r} fixes no input: write it like sr=16000")
    return name, values


def _rule(text: str) -> OutputRule:
    output, metric, drop = text, None, None
    metrics: dict[str, Fidelity] = {_plain(item): item for item in get_args(Fidelity)}
    # From the end, since names of outputs may have colons.
    head, _, tail = output.rpartition(":")
    if head and tail.endswith("%"):
        output, drop = head, _quantity(parse_percent)(tail)
        head, _, tail = output.rpartition(":")
    if head and _plain(tail) in metrics:
        output, metric = head, metrics[_plain(tail)]
    if not output or (metric is None and drop is None):
        raise argparse.ArgumentTypeError(
            f"{text!r} says nothing of an output: write it like boxes:boxes:2%, with a metric of "
            f"{', '.join(map(_kebab, get_args(Fidelity)))}"
        )
    return OutputRule(output=output, metric=metric, max_drop=drop)


def _input(text: str) -> TensorSpec:
    name, _, rest = text.rpartition(":")
    name, _, datatype = name.rpartition(":")
    try:
        shape = tuple(int(size) for size in rest.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not an input: write it like tokens:INT64:1,128") from error
    known = {str(item): item for item in get_args(Datatype)}
    if not name or datatype not in known:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not an input: write it like tokens:INT64:1,128, with a type of {', '.join(known)}"
        )
    return TensorSpec(name=name, datatype=known[datatype], shape=shape)
