"""Bounds that every service holds to."""

from __future__ import annotations

from typing import Final

MAX_TEXT_CHARACTERS: Final = 100_000
"""Longer texts end as dead letters; what a model reads is bounded by its own tokens."""
EXCERPT_CHARACTERS: Final = 280
"""How much of a text travels with its result."""
