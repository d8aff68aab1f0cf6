"""What the pages say about exit codes and error classes is what the code says."""

from __future__ import annotations

import re
from pathlib import Path

from console.failures import Exit
from schemas.errors import ErrorClass

DOCS = Path(__file__).parents[2] / "docs"


def test_the_page_lists_every_exit_code() -> None:
    found = re.findall(r"^\| (\d+) \| ([A-Z_]+) \|", (DOCS / "cli.md").read_text(), re.MULTILINE)
    assert {name: int(code) for code, name in found} == {one.name: int(one) for one in Exit}


def test_the_page_lists_every_error_class() -> None:
    found = re.findall(r"^\| `([a-z-]+)` \|", (DOCS / "errors.md").read_text(), re.MULTILINE)
    assert sorted(found) == sorted(ErrorClass)
