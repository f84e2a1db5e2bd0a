"""What torch.export.save writes, checked to be data before torch reads it.

``torch.export.load`` trusts its file: it unpickles sample inputs, custom objects and some weights, evaluates shape
expressions (``sympy.sympify``) and guards as Python, looks operators up by walking attributes from ``torch``
(``torch.os.system`` is one), and pastes the names of inputs into code that it compiles. So the archive is read here
first, and written anew with only what was understood:

* the graph's JSON without guards and debugging metadata, every name in it a plain identifier, every operator one of
  ATen or of integer arithmetic, every shape expression arithmetic over symbols;
* weights and constants as raw bytes; a pickled one is a reason to refuse;
* no sample inputs: ``exported_program`` makes its own.
"""

import ast
import json
import math
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgemodel_compressor.errors import TaskError

_JSON_LIMIT = 256 * 2**20
_DEPTH_LIMIT = 200
_CHUNK = 1 << 20
_NAME = re.compile(r"[A-Za-z0-9_.@]*")
_TEXT_LIMIT = 1000
_OPERATOR = re.compile(
    r"torch\.ops\.aten\.(?P<aten>\w+)\.\w+"
    r"|torch\.ops\.higher_order\.(?:wrap_with_set_grad_enabled|wrap_with_autocast|cond)"
    r"|_operator\.(?:add|sub|mul|truediv|floordiv|mod|pow|neg|pos|eq|ne|le|ge|lt|gt|and_|or_|getitem)"
    r"|torch\.sym_(?:not|int|float|ite|max|min|sqrt)"
    r"|math\.trunc"
)
_FILE_OPERATORS = {"from_file", "save"}
"""The operators of ATen that touch files."""
_SHAPE_FUNCTIONS = {
    *("Symbol", "Integer", "Rational", "Float", "Add", "Mul", "Pow", "Max", "Min", "Mod", "PythonMod", "FloorDiv"),
    *("CeilDiv", "CleanDiv", "ModularIndexing", "CeilToInt", "FloorToInt", "TruncToInt", "IntTrueDiv", "ToFloat"),
    *("Where", "Equality", "Unequality", "StrictLessThan", "LessThan", "StrictGreaterThan", "GreaterThan"),
    *("And", "Or", "Not"),
}
_SHAPE_SYNTAX = (
    *(ast.Expression, ast.Call, ast.Name, ast.Load, ast.Constant, ast.keyword, ast.BinOp, ast.UnaryOp, ast.Compare),
    *(ast.Add, ast.Sub, ast.Mult, ast.FloorDiv, ast.Mod, ast.USub, ast.UAdd),
    *(ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.Eq, ast.NotEq),
)
_CONTAINERS = {None, "builtins.tuple", "builtins.list", "builtins.dict", "collections.OrderedDict"}
_ITEM_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 2, 7: 4, 8: 8, 9: 4, 10: 8, 11: 16, 12: 1, 13: 2}
"""Bytes of one element by torch's number for its type."""
_CONFIGS = {
    "data/weights/": "data/weights/model_weights_config.json",
    "data/constants/": "data/constants/model_constants_config.json",
}
_MODEL = "models/model.json"


def rewrite(archive: Path, target: Path, limit: int) -> None:
    """Write the program in ``archive`` to ``target``, checked, and without what could run.

    ``limit`` bounds the bytes of its weights.

    Raises:
        TaskError: InvalidModel where it is damaged, or holds what a program has no need of; SourceTooLarge.
    """
    try:
        with zipfile.ZipFile(archive) as source:
            _rewrite(source, target, limit)
    except (OSError, EOFError, ValueError, KeyError, TypeError, RecursionError, zipfile.BadZipFile) as error:
        raise _refuse(f"is damaged or cut short ({type(error).__name__}); save and upload it again") from error


def _rewrite(source: zipfile.ZipFile, target: Path, limit: int) -> None:
    root, members = _members(source, limit)
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as written:

        def put(name: str, content: bytes) -> None:
            written.writestr(zipfile.ZipInfo(f"{root}/{name}"), content)

        put("archive_format", b"pt2")
        put("archive_version", _read(source, members["archive_version"]))
        put(".data/version", _read(source, members[".data/version"]))
        put("byteorder", b"little")
        put(_MODEL, json.dumps(check_program(_json(source, members[_MODEL]))).encode())
        put("data/sample_inputs/model.pt", b"")
        for folder, config in _CONFIGS.items():
            payloads = _json(source, members[config])
            names = {_check_payload(name, payload, limit) for name, payload in payloads["config"].items()}
            put(config, json.dumps(payloads).encode())
            for name in sorted(names):
                entry = members[folder + name]
                copied = zipfile.ZipInfo(f"{root}/{folder}{name}")
                copied.file_size = entry.file_size
                with source.open(entry) as stream, written.open(copied, "w") as sink:
                    while chunk := stream.read(_CHUNK):
                        sink.write(chunk)


def _members(source: zipfile.ZipFile, limit: int) -> tuple[str, dict[str, zipfile.ZipInfo]]:
    entries = source.infolist()
    root = entries[0].filename.split("/", 1)[0]
    members = {entry.filename.removeprefix(f"{root}/"): entry for entry in entries}
    if len(members) != len(entries):
        raise _refuse("holds a file twice; save it again")
    if sum(entry.file_size for entry in entries) > limit:
        raise TaskError("SourceTooLarge", f"The model takes more than the {limit} bytes allowed; give a smaller one.")
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise _refuse("is compressed, which torch.export.save never does; save it again")
    if _MODEL not in members or any(name.startswith("data/aotinductor/") for name in members):
        raise _refuse(
            "is not what torch.export.save of this generation writes (an older or a compiled one); save it again with "
            "torch 2.9 or later"
        )
    return root, members


def _json(source: zipfile.ZipFile, entry: zipfile.ZipInfo) -> Any:
    return json.loads(_read(source, entry))


def _read(source: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    if entry.file_size > _JSON_LIMIT:
        raise _refuse(f"has a description of {entry.file_size} bytes; such a file is refused")
    return source.read(entry)


def _check_payload(name: str, payload: dict[str, Any], limit: int) -> str:
    """The name of the file that holds the tensor ``name``."""
    file, meta = payload["path_name"], payload["tensor_meta"]
    if payload["use_pickle"] or not re.fullmatch(r"(weight|tensor)_\d+", file) or meta is None:
        raise _refuse(f"keeps {name[:100]!r} as a Python pickle, which is never unpickled; use plain tensors only")
    sizes = [size["as_int"] for size in meta["sizes"]]
    if min(sizes, default=0) < 0 or math.prod(sizes) * _ITEM_SIZES.get(meta["dtype"], 16) > limit:
        raise _refuse(f"has a tensor {name[:100]!r} of {sizes} elements; such a file is refused")
    _check_strings(payload, name)
    return str(file)


def check_program(program: Any) -> Any:
    """``program`` (the JSON of an ExportedProgram) without guards and metadata.

    Raises:
        TaskError: InvalidModel for a name, an operator or an expression that is more than that.
    """
    program["guards_code"] = []
    program.pop("torch_version", None)
    _check(program, "", 0)
    return program


def _check(value: Any, key: str, depth: int) -> None:
    if depth > _DEPTH_LIMIT:
        raise _refuse("is nested too deeply; such a file is refused")
    if isinstance(value, dict):
        if "metadata" in value:
            value["metadata"] = {}
        for name, item in value.items():
            if name in ("as_custom_obj", "custom_obj", "as_custom_obj_value"):
                raise _refuse("holds a custom object, which would have to be unpickled; use plain tensors only")
            if key == "range_constraints":
                _check_expression(name)
            else:
                _check_name(name)
            _check(item, name, depth + 1)
    elif isinstance(value, list):
        for item in value:
            _check(item, key, depth + 1)
    elif isinstance(value, str):
        _check_text(value, key)


def _check_text(text: str, key: str) -> None:
    if key in ("target", "as_operator"):
        match = _OPERATOR.fullmatch(text)
        if not match or match["aten"] in _FILE_OPERATORS:
            raise TaskError(
                "UnsupportedModel",
                f"The torch.export program calls {text[:100]!r}, which is no operator of ATen; write the model with "
                "torch's own operators.",
            )
    elif key == "expr_str":
        _check_expression(text)
    elif key in ("in_spec", "out_spec"):
        for item in _tree_strings(json.loads(text)):
            _check_name(item)
    elif key in ("as_string", "as_strings"):
        # Arguments such as "none" or an einsum: they only ever become literals.
        if len(text) > _TEXT_LIMIT or not text.isprintable():
            raise _refuse("holds a text that no operator takes; such a file is refused")
    else:
        _check_name(text)


def _check_strings(value: Any, name: str) -> None:
    _check_name(name)
    _check(value, "", 0)


def _check_name(text: str) -> None:
    if not _NAME.fullmatch(text):
        raise _refuse(f"holds {text[:100]!r} where a name belongs; such a file is refused")


def _tree_strings(tree: Any) -> Iterator[str]:
    """All strings of a pytree's JSON; the types in it are the containers of Python and no others."""
    if isinstance(tree, dict):
        if tree.get("type") not in _CONTAINERS:
            raise TaskError(
                "UnsupportedModel",
                f"The torch.export program takes or returns a {str(tree.get('type'))[:100]}; export a module that "
                "takes tensors and returns tensors, tuples, lists or dicts.",
            )
        for key, item in tree.items():
            yield key
            if key == "context" and isinstance(item, str):
                yield from _tree_strings(json.loads(item))
            else:
                yield from _tree_strings(item)
    elif isinstance(tree, list):
        for item in tree:
            yield from _tree_strings(item)
    elif isinstance(tree, str):
        yield tree


def _check_expression(text: str) -> None:
    refusal = _refuse(f"has the shape expression {text[:100]!r}, which is more than arithmetic; it is refused")
    if len(text) > _TEXT_LIMIT:
        raise refusal
    try:
        tree = ast.parse(text, mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise refusal from error
    for node in ast.walk(tree):
        if not isinstance(node, _SHAPE_SYNTAX) or not _is_arithmetic(node):
            raise refusal


def _is_arithmetic(node: ast.AST) -> bool:
    if isinstance(node, ast.Call):
        if not isinstance(node.func, ast.Name) or node.func.id not in _SHAPE_FUNCTIONS:
            return False
        # A power of a power is how a number of a line fills the memory.
        return node.func.id != "Pow" or all(_is_small(argument) for argument in node.args)
    if isinstance(node, ast.Name):
        return node.id in _SHAPE_FUNCTIONS or re.fullmatch(r"[a-z]+\d+|true|false", node.id) is not None
    if isinstance(node, ast.keyword):
        return isinstance(node.value, ast.Constant) and isinstance(node.value.value, bool)
    if isinstance(node, ast.Constant):
        value = node.value
        if isinstance(value, str):
            return re.fullmatch(r"\w+", value) is not None
        return isinstance(value, float | bool) or (isinstance(value, int) and abs(value) < 2**63)
    return True


def _is_small(node: ast.AST) -> bool:
    """A symbol, or a number that may be an exponent."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        if node.func.id == "Symbol":
            return True
        return node.func.id == "Integer" and len(node.args) == 1 and _is_small(node.args[0])
    if isinstance(node, ast.UnaryOp):
        return _is_small(node.operand)
    return isinstance(node, ast.Name) or (
        isinstance(node, ast.Constant) and isinstance(node.value, int) and abs(node.value) <= 8
    )


def _refuse(words: str) -> TaskError:
    return TaskError("InvalidModel", f"The torch.export program {words}.")
