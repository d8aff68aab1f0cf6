"""What the model reads, from the artefact's own manifest: text, or target and marked text."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

PAIRS = ("pair-classifier",)


class Inputs:
    """Labels, longest input and the form of a question, as the artefact states them."""

    def __init__(self, model: Path) -> None:
        manifest: dict[str, Any] = json.loads((model / "manifest.json").read_text())
        self.labels: list[str] = manifest["labels"]
        self.max_tokens: int = manifest["max_tokens"]
        self._pair = manifest["kind"] in PAIRS
        self._marked = manifest.get("marking", "none") == "mention"

    def pair(self, text: str, target: str | None) -> tuple[str, str | None]:
        """First and second sequence; the second is None where the model reads one."""
        if not self._pair or target is None:
            return text, None
        return target, _starred(text, target) if self._marked else text


def _starred(text: str, target: str) -> str:
    if not target.strip():
        return text
    mention = rf"(?<!\w){re.escape(target)}(?!\w)"
    said, count = re.subn(mention, lambda found: f"* {found[0]} *", text)
    if count:
        return said
    return re.sub(mention, lambda found: f"* {found[0]} *", text, flags=re.IGNORECASE)
