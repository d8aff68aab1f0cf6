"""The page that a newcomer reads names only files and functions that are there."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/architecture.md").read_text()
NAMED = sorted(set(re.findall(r"`([a-z_/]+\.py)(?::([\w.]+))?`", PAGE)))


@pytest.mark.parametrize(("path", "name"), NAMED)
def test_a_place_in_the_code_that_the_page_names_exists(path: str, name: str) -> None:
    here: list[ast.stmt] = ast.parse((ROOT / path).read_text()).body
    for part in filter(None, name.split(".")):
        (found,) = [
            node
            for node in here
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            and node.name == part
        ]
        here = found.body


def test_the_walk_goes_through_every_room_of_the_message() -> None:
    rooms = {path.partition("/")[0] for path, _ in NAMED}
    assert rooms >= {"schemas", "streams", "kernel", "agents", "console"}


def test_the_table_of_rooms_is_the_project_s() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert sorted(re.findall(r"^\| `(\w+)/` \|", PAGE, re.MULTILINE)) == sorted(packages)
