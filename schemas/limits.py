"""Bounds that every service holds to."""

from __future__ import annotations

from typing import Final

MAX_TEXT_CHARACTERS: Final = 100_000
"""Longer texts end as dead letters; what a model reads is bounded by its own tokens."""
MAX_TEXT_TOKENS: Final = 262_144
"""A text that takes more tokens, in all the windows that a model reads it in, is refused."""
MAX_ENTITIES: Final = 4_096
"""In one result, which must fit into a record; a text with more is refused."""
EXCERPT_CHARACTERS: Final = 280
"""How much of a text travels with its result."""
MAX_NAME_CHARACTERS: Final = 1_000
"""Of a task, thread, target, ticker or request id: they are repeated in what answers them."""
MAX_ID_CHARACTERS: Final = MAX_NAME_CHARACTERS + 24
"""Of any event's id: a request's id and what is put before it."""
MAX_REASON_CHARACTERS: Final = 1_000
"""Of a dead letter's reason, which may quote the record; the record itself is kept whole."""
