"""Recipes: every choice of a training run, typed, in a TOML file that can be read and diffed."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from kernel.artefact import Marking
from trainer.errors import TrainerError

FOLDER: Final = Path(__file__).parent / "recipes"

Share = Annotated[float, Meta(ge=0, lt=1)]
Positive = Annotated[float, Meta(gt=0)]
Count = Annotated[int, Meta(ge=1)]


class Recipe(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a model is made from labelled rows."""

    name: str
    strategy: Literal["full"] = "full"
    """What is trained; `full` is every weight of the backbone and a fresh head."""
    backbone: str = "all-minilm-l6-v2"
    """The one that comes with Headrace, a folder, or an id on the Hugging Face hub."""
    marking: Marking = "mention"
    """How the target of a pair is shown in the text."""
    max_tokens: Annotated[int, Meta(ge=8)] = 128
    epochs: Positive = 3
    max_steps: Annotated[int, Meta(ge=-1)] = -1
    """Optimiser steps, where more than 0; it then wins over `epochs`."""
    batch_size: Count = 16
    learning_rate: Positive = 1e-4
    head_learning_rate: Positive = 1e-3
    layer_decay: Annotated[float, Meta(gt=0, le=1)] = 1.0
    """Each layer below learns at this share of the rate of the one above it."""
    frozen_vocabulary: bool = False
    """Leave the word vectors as pre-trained: half of the weights, and names never seen in
    training keep what the backbone knows of them."""
    weight_decay: Annotated[float, Meta(ge=0)] = 0.01
    warmup: Share = 0.1
    """Share of the steps over which the learning rate rises."""
    label_smoothing: Share = 0.0
    dropout: Share = 0.1
    held_back: Annotated[float, Meta(gt=0, lt=1)] = 0.15
    """Share of the texts that no version ever trains on."""
    checkpoint_steps: Count = 100
    """Steps between checkpoints: what a kill costs at most."""
    precisions: tuple[Literal["int8"], ...] = ("int8",)
    """Precisions exported beside fp32."""
    seed: int = 17


def load(name: str) -> Recipe:
    """The recipe of that name, or the one in the TOML file of that path.

    Raises:
        TrainerError: there is none, or a field is not understood.
    """
    path = Path(name) if name.endswith(".toml") else FOLDER / f"{name}.toml"
    if not path.is_file():
        known = ", ".join(sorted(found.stem for found in FOLDER.glob("*.toml")))
        raise TrainerError(f"no recipe {name!r}: known are {known}, or give a recipe file (.toml)")
    try:
        fields = tomllib.loads(path.read_text())
        return msgspec.convert({"name": path.stem, **fields}, Recipe)
    except (OSError, tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise TrainerError(f"the recipe {path} cannot be used: {error}") from error
