"""A hook of mkdocs: links to files outside of docs/ become their text, since the site does not have them.

In the repository such links lead to the files; a test holds them against what is there.
"""

import re

_LINK = re.compile(r"\[([^\]]+)\]\(((?:\.\./)+(?:[\w.-]+/?)*)\)")


def on_page_markdown(markdown: str, page: object, **_: object) -> str:
    """Called by mkdocs for each page, with its text and what it knows of it."""
    depth = str(page.file.src_uri).count("/")  # type: ignore[attr-defined]
    outside = "../" * (depth + 1)
    return _LINK.sub(lambda link: f"`{link[1]}`" if link[2].startswith(outside) else link[0], markdown)
