"""Full fine-tuning: every weight of the backbone and a fresh head."""

from __future__ import annotations

from trainer.strategies.base import Strategy


class Full(Strategy, frozen=True, kw_only=True):
    """Nothing is frozen and nothing is added."""
