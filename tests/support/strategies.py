"""Hypothesis strategies of events, made from their types and the bounds that these state."""

from __future__ import annotations

import math
from datetime import UTC, timedelta, timezone
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec
from hypothesis import strategies as st

from schemas.events import Event, Timestamp

E = TypeVar("E", bound=Event)

_OFFSETS = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
MOMENTS = st.datetimes(timezones=st.one_of(st.just(UTC), _OFFSETS))
_BASE: dict[Any, st.SearchStrategy[Any]] = {
    bool: st.booleans(),
    int: st.integers(-(2**63), 2**63 - 1),
    float: st.floats(allow_nan=False, allow_infinity=False),
    str: st.text(max_size=50),
    bytes: st.binary(max_size=50),
    NoneType: st.none(),
}


def events_of(kind: type[E]) -> st.SearchStrategy[E]:
    """Every event of a type that a service may say."""
    found: st.SearchStrategy[E] = _struct(kind)
    return found


@cache
def _struct(kind: type[msgspec.Struct]) -> st.SearchStrategy[Any]:
    hints = get_type_hints(kind, include_extras=True)
    return st.builds(kind, **{name: _value(hints[name]) for name in kind.__struct_fields__})


def _value(hint: Any) -> st.SearchStrategy[Any]:
    if hint == Timestamp:
        return MOMENTS
    inside = get_args(hint)
    match get_origin(hint):
        case None:
            return _BASE[hint] if hint in _BASE else _struct(hint)
        case origin if origin is Annotated:
            found = _bounded(inside[0], inside[1:])
        case origin if origin in {Union, UnionType}:
            found = st.one_of([_value(one) for one in inside])
        case origin if origin is Literal:
            found = st.sampled_from(inside)
        case origin if origin is list:
            found = st.lists(_value(inside[0]), max_size=4)
        case origin if origin is tuple and inside[-1] is Ellipsis:
            found = st.lists(_value(inside[0]), max_size=4).map(tuple)
        case origin if origin is tuple:
            found = st.tuples(*(_value(one) for one in inside))
        case _:
            found = st.dictionaries(_value(inside[0]), _value(inside[1]), max_size=4)
    return found


def _bounded(base: Any, metas: tuple[Any, ...]) -> st.SearchStrategy[Any]:
    bounds: dict[str, Any] = {
        name: value
        for meta in metas
        for name in ("ge", "gt", "le", "min_length", "max_length")
        if (value := getattr(meta, name)) is not None
    }
    if base is int:
        return st.integers(bounds.get("ge"), bounds.get("le"))
    if base is float:
        return st.floats(
            bounds.get("ge", bounds.get("gt")), bounds.get("le"), exclude_min="gt" in bounds
        ).filter(math.isfinite)
    longest = min(bounds.get("max_length", 50), 50)
    return st.text(min_size=bounds.get("min_length", 0), max_size=longest)
