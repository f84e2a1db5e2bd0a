"""The model folder: card and files, each file checked against the card before anything reads it."""

import hashlib
import hmac
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from edgemodel_contract.card import CARD_FILE, MODEL_FILE, ModelCard
from edgemodel_contract.encoding import decode
from edgemodel_server.errors import ModelError


@dataclass(frozen=True)
class ModelFolder:
    """A folder whose files are what its card says."""

    path: Path
    card: ModelCard
    file: str = MODEL_FILE

    @property
    def model(self) -> Path:
        """The ONNX file."""
        return self.path / self.file

    @property
    def digest(self) -> str:
        """``sha256:…`` of the ONNX file."""
        return self.card.files[self.file]


def open_folder(path: Path) -> ModelFolder:
    """Read the card in ``path`` and verify the SHA-256 of every file it lists.

    Raises:
        ModelError: no card, a card of another shape, a file missing, outside of the folder, or with another digest.
    """
    card_file = path / CARD_FILE
    try:
        card = decode(card_file.read_bytes(), ModelCard)
    except OSError as error:
        raise ModelError(
            f"cannot read the model card {card_file} ({error.strerror}): "
            "set EDGEMODEL_MODEL_DIR to the folder that holds it"
        ) from error
    except ValueError as error:
        raise ModelError(f"the model card {card_file} is {error}: build the model image again") from error
    if MODEL_FILE not in card.files:
        raise ModelError(f"the model card {card_file} does not list {MODEL_FILE}: build the model image again")
    for name, digest in card.files.items():
        _verify(path, name, digest)
    return ModelFolder(path, card)


def _verify(folder: Path, name: str, expected: str) -> None:
    pure = PurePosixPath(name)
    if pure.is_absolute() or ".." in pure.parts:
        raise ModelError(f"the model card in {folder} lists {name!r}, which is not inside the folder")
    file = folder / pure
    try:
        with file.open("rb") as stream:
            actual = "sha256:" + hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise ModelError(
            f"cannot read {file}, which the model card lists ({error.strerror}): build the model image again"
        ) from error
    if not hmac.compare_digest(actual.encode(), expected.encode()):
        raise ModelError(
            f"{file} has digest {actual} but its card says {expected}: the file is not the one that was measured; "
            "pull or build the model image again"
        )
