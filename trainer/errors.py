"""What stops a training run, in words that say what to do."""

from __future__ import annotations

from typing import ClassVar


class TrainerError(Exception):
    """A run cannot go on; the message tells the user what to change."""

    lasting: ClassVar[bool] = False
    """Whether the same labels and recipe would fail again, so that trying again is vain."""


class DataError(TrainerError):
    """The labels themselves are at fault."""

    lasting = True


class RefusedError(TrainerError):
    """What the recipe made of the labels cannot be used."""

    lasting = True
