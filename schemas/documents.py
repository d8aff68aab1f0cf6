"""The documents made from the types: `python -m schemas.documents` writes them.

`--check` writes nothing and exits with 1 where a document differs from the types.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Final

import orjson
import yaml

from schemas.asyncapi import asyncapi
from schemas.envelope import TYPES
from schemas.json_schemas import file_name, json_schema

FOLDER: Final = Path(__file__).parents[1] / "docs"
_MADE: Final = "# Made by `make docs` from schemas/: edit the types, not this file.\n"


class _Plain(yaml.SafeDumper):
    """YAML without anchors: a reader finds each thing where it stands."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002
        return True


def documents() -> dict[str, bytes]:
    """Content of each document by its path below the folder."""
    made = {
        f"schemas/{file_name(kind)}": orjson.dumps(
            json_schema(kind), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
        )
        for kind in TYPES
    }
    text = yaml.dump(asyncapi(), Dumper=_Plain, sort_keys=False, allow_unicode=True, width=100)
    made["asyncapi.yaml"] = (_MADE + text).encode()
    return made


def write(folder: Path = FOLDER) -> list[str]:
    """Write what differs and remove schemas of types that are gone; returns their paths."""
    changed = differing(folder)
    made = documents()
    for path in changed:
        target = folder / path
        if path in made:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(made[path])
        else:
            target.unlink()
    return changed


def differing(folder: Path = FOLDER) -> list[str]:
    """Paths of documents that are missing, out of date or of types that are gone."""
    made = documents()
    old = {path.relative_to(folder).as_posix() for path in (folder / "schemas").glob("*.json")}
    return sorted(
        path
        for path in made.keys() | old
        if path not in made
        or not (folder / path).is_file()
        or (folder / path).read_bytes() != made[path]
    )


def main(arguments: list[str] | None = None, folder: Path = FOLDER) -> int:
    """Write or check; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m schemas.documents", description=__doc__)
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit 1 on a difference"
    )
    if not parser.parse_args(arguments).check:
        for path in write(folder):
            sys.stdout.write(f"written: {folder.name}/{path}\n")
        return 0
    changed = differing(folder)
    for path in changed:
        sys.stderr.write(f"out of date: {folder.name}/{path}; run `make docs`\n")
    return 1 if changed else 0


if __name__ == "__main__":
    sys.exit(main())
