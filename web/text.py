"""Text from feeds, made safe to look at: what cannot be seen, or turns others around, is shown.

Every page shows text as text, never as HTML. That leaves characters that deceive the eye:
controls, bidirectional overrides, zero-width ones. They appear as their code point.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

_SPACES: Final = re.compile(r"\s+")
_HIDDEN: Final = {"Cc", "Cf", "Cs", "Co", "Cn"}
_ALSO_HIDDEN: Final = {"\u034f", "\u115f", "\u1160", "\u17b4", "\u17b5", "\u3164", "\uffa0"}
"""Letters and marks by category that nevertheless show nothing."""


def shown(text: str, limit: int | None = None) -> str:
    """`text` on one line with hidden characters as `⟨U+202E⟩`, at most `limit` characters."""
    plain = _SPACES.sub(" ", text).strip()
    if limit is not None and len(plain) > limit:
        plain = f"{plain[: limit - 1]}…"
    if plain.isascii() and plain.isprintable():
        return plain
    return "".join(_visible(character) for character in plain)


def visible(line: str) -> str:
    """`line` with its spaces as they are, and hidden characters as `⟨U+202E⟩`."""
    return "".join(_visible(character) for character in line)


def _visible(character: str) -> str:
    if unicodedata.category(character) in _HIDDEN or character in _ALSO_HIDDEN:
        return f"⟨U+{ord(character):04X}⟩"
    return character


def hex_dump(content: bytes, limit: int = 4_096) -> str:
    """Offset, sixteen bytes in hex, and their ASCII, a line each; at most `limit` bytes."""
    lines = []
    for start in range(0, min(len(content), limit), 16):
        part = content[start : start + 16]
        ascii_side = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in part)
        lines.append(f"{start:08x}  {part.hex(' '):<47}  {ascii_side}")
    if len(content) > limit:
        lines.append(f"… {len(content) - limit} bytes more")
    return "\n".join(lines)
