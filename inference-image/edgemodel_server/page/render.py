"""Templates to HTML, and the headers that let a browser run what is in the document and nothing else."""

import base64
import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Environment

_FOLDER = Path(__file__).parent / "templates"

COMMON_HEADERS = {
    "cache-control": "no-cache",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}
FOREIGN_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; sandbox"
)
"""For a document that another program wrote: it may look as it likes, but runs no script and reaches nothing."""


@dataclass(frozen=True)
class Document:
    """A rendered page and the headers it must be sent with."""

    content: bytes
    headers: dict[str, str]


def render(template: str, *, script: str | None = None, **values: Any) -> Document:
    """``templates/<template>`` with the common style, and with ``templates/<script>`` in it where one is named.

    Every value is escaped. The policy admits style and script by their digests, so that nothing that might ever slip
    through escaping would run.
    """
    from markupsafe import Markup

    style = _text("style.css")
    code = _text(script) if script else ""
    content = _environment().get_template(template).render(style=Markup(style), code=Markup(code), **values)  # noqa: S704
    policy = [
        "default-src 'none'",
        f"style-src '{_digest(style)}'",
        f"script-src '{_digest(code)}'" if code else "script-src 'none'",
        "connect-src 'self'",
        "img-src 'self' blob: data:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ]
    return Document(content.encode(), {**COMMON_HEADERS, "content-security-policy": "; ".join(policy)})


@cache
def _environment() -> "Environment":
    # Loaded for the first page, not for the first inference: the server's start does not wait for it.
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"sort_keys": False}
    return environment


@cache
def _text(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
