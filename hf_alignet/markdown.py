"""Text that stays text in Markdown: what other people call things makes no heading, image, link or HTML."""

import json
import re
from collections.abc import Sequence

SPACE = re.compile("[\\s\\x00-\\x1f\\x7f-\\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]+")  # also turns of direction
# What begins a block; `_` inside a word, and brackets without a link, mean nothing
BLOCK = re.compile(r"^\s*(?=#+(\s|$)|[-+=]\s|>|[-=_]{3,}|\d+[.)]\s)")
INLINE = re.compile(r"[\\`*|]|~~|(?<!\w)_|_(?!\w)|(?<=!)\[|(?<=\])[(\[:]")
ENTITY = re.compile(r"&(?=#?\w+;)")
QUOTED = {ord(character): f"\\u{ord(character):04x}" for character in "<>&`"}


def plain(text: str) -> str:
    """The text in one line of Markdown that shows it as it is.

    Example:
        >>> print(plain("![x](http://y)|<b>"))
        !\\[x]\\(http://y)\\|&lt;b>
    """
    text = INLINE.sub(lambda found: f"\\{found[0]}", SPACE.sub(" ", text))
    text = ENTITY.sub("&amp;", text).replace("<", "&lt;")
    return BLOCK.sub("\\\\", text)


def code(text: str) -> str:
    """The text in one line as code; as plain text if it has signs of Markdown or HTML, as no name in code has.

    Example:
        >>> print(code("user/name"), code("a`b"))
        `user/name` a\\`b
    """
    has_signs = SPACE.sub(" ", text) != text or set("`|<[") & set(text) or ENTITY.search(text)
    return plain(text) if has_signs or not text else f"`{text}`"


def quoted(text: str) -> str:
    """The text as a literal of Python, in double quotes."""
    return json.dumps(text, ensure_ascii=False).translate(QUOTED)


def table(rows: Sequence[Sequence[str]]) -> str:
    """A table whose first row is its header."""
    header, *body = [[plain(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in [header, *body]) for i in range(len(header))]
    rule = ["-" * width for width in widths]
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in [header, rule, *body]
    )
