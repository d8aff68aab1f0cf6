"""JSON Schema (draft 2020-12) of every event type, made from the types themselves.

The words of a schema are the docstrings in `schemas.events` and `schemas.tasks`: a class's
docstring is the description of its schema, the string under a field that of the field.
"""

from __future__ import annotations

import ast
import inspect
from functools import cache
from typing import Any, Final

import msgspec

from schemas import events, tasks
from schemas.envelope import TYPES
from schemas.events import Event

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_TEMPLATE: Final = "#/$defs/{name}"


def json_schema(kind: type[Event]) -> dict[str, Any]:
    """The schema of one event type's body, complete in itself."""
    _, parts = msgspec.json.schema_components([kind], ref_template=_TEMPLATE)
    for name, part in parts.items():
        _describe(name, part)
    whole = parts.pop(kind.__name__)
    schema = {"$schema": DIALECT, **whole}
    if parts:
        schema["$defs"] = dict(sorted(parts.items()))
    return schema


def file_name(kind: type[Event]) -> str:
    """Name of the file that holds the type's schema: its CloudEvents type."""
    return f"{TYPES[kind]}.json"


def _describe(name: str, part: dict[str, Any]) -> None:
    if "description" in part:
        part["description"] = inspect.cleandoc(part["description"])
    words = _field_words().get(name, {})
    for field, schema in part.get("properties", {}).items():
        if field in words:
            schema["description"] = words[field]
    for schema, field in zip(part.get("prefixItems", ()), _fields(name), strict=False):
        # An array has no names of its own: say which field stands here.
        schema["title"] = field
        if field in words:
            schema["description"] = words[field]


def _fields(name: str) -> tuple[str, ...]:
    kind: type[msgspec.Struct] = getattr(events, name, None) or getattr(tasks, name)
    return kind.__struct_fields__


@cache
def _field_words() -> dict[str, dict[str, str]]:
    """By class and field, the string that stands under the field."""
    found: dict[str, dict[str, str]] = {}
    sources = (inspect.getsource(module) for module in (events, tasks))
    for node in (node for source in sources for node in ast.parse(source).body):
        if not isinstance(node, ast.ClassDef):
            continue
        for field, below in zip(node.body, node.body[1:], strict=False):
            if (
                isinstance(field, ast.AnnAssign)
                and isinstance(field.target, ast.Name)
                and isinstance(below, ast.Expr)
                and isinstance(below.value, ast.Constant)
            ):
                text = inspect.cleandoc(str(below.value.value))
                found.setdefault(node.name, {})[field.target.id] = text
    return found
