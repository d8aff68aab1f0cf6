"""Bounds that every service holds to."""

from __future__ import annotations

from typing import Final

MAX_TEXT_CHARACTERS: Final = 100_000
"""Longer texts end as dead letters; what a model reads is bounded by its own tokens."""
EXCERPT_CHARACTERS: Final = 280
"""How much of a text travels with its result."""
MAX_NAME_CHARACTERS: Final = 1_000
"""Of a task, thread, target, ticker or request id: they are repeated in what answers them."""
MAX_ID_CHARACTERS: Final = MAX_NAME_CHARACTERS + 24
"""Of any event's id: a request's id and what is put before it."""
MAX_REASON_CHARACTERS: Final = 1_000
"""Of a dead letter's reason, which may quote the record; the record itself is kept whole."""
