"""`headrace bench report`: saved figures into the pages that show them.

A page holds pairs of markers, `<!-- bench: NAME -->` and `<!-- /bench -->`; what stands
between them is written anew from the JSON files of a folder. Text around them is a
person's, and stays. Where figures are missing the old text stays too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from proof.bench import plots, tables

PAGES: Final = ("benchmarks.md", "scale.md")
PICTURES: Final = "bench"
_BLOCK: Final = re.compile(r"(<!-- bench: (\S+) -->\n).*?(<!-- /bench -->)", re.DOTALL)


def load(folder: Path) -> dict[str, Mapping[str, Any]]:
    """Every JSON file of a folder, by name.

    Raises:
        ValueError: there is none, or one is not JSON.
    """
    found = {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}
    if not found:
        raise ValueError(f"{folder} holds no JSON files: `headrace bench all --out {folder}`")
    return found


def filled(page: str, saved: Mapping[str, Mapping[str, Any]]) -> tuple[str, list[str]]:
    """The page with its blocks made anew; the names of those for which figures are missing.

    Raises:
        ValueError: a marker names a table that there is not.
    """
    missing: list[str] = []

    def block(found: re.Match[str]) -> str:
        name = found[2]
        if name not in tables.TABLES:
            known = ", ".join(tables.TABLES)
            raise ValueError(f"no table is called {name!r}; there are {known}")
        needed, make = tables.TABLES[name]
        if any(one not in saved for one in needed):
            missing.append(name)
            return found[0]
        return f"{found[1]}{make(saved)}{found[3]}"

    return _BLOCK.sub(block, page), missing


def main(folder: Path, docs: Path) -> dict[str, Sequence[str]]:
    """Fill the pages in `docs`, and draw the pictures into `docs / bench`.

    Returns:
        `pages` and `pictures` written, and the tables `missing` figures.

    Raises:
        ValueError: no figures, or a marker that names no table.
    """
    saved = load(folder)
    missing: list[str] = []
    written: list[str] = []
    for name in PAGES:
        path = docs / name
        page, without = filled(path.read_text(encoding="utf-8"), saved)
        missing += without
        path.write_text(page, encoding="utf-8")
        written.append(str(path))
    pictures = [str(path) for path in plots.draw(saved, docs / PICTURES)]
    return {"pages": written, "pictures": pictures, "missing": missing}
