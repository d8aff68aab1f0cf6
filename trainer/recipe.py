"""Recipes: every choice of a training run, typed, in a TOML file that can be read and diffed.

    strategy = "full"            what is trained: a file of `trainer.strategies`
    [options.r-drop]             what is added to it, in this order, with its own settings
    weight = 1.0

A recipe `NAME` may have variants for a task, `NAME.TASK.toml`, or for an answer of tasks,
`NAME.tags.toml`; the nearest is taken (`trainer.recipe_files`).
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from kernel.artefact import Marking

Share = Annotated[float, Meta(ge=0, lt=1)]
Positive = Annotated[float, Meta(gt=0)]
Count = Annotated[int, Meta(ge=1)]


class Recipe(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a model is made from labelled rows."""

    name: str
    strategy: str = "full"
    """What is trained; `full` is every weight of the backbone and a fresh head."""
    options: dict[str, dict[str, Any]] = {}
    """Other strategies beside it, by name, with their settings; also the strategy's own."""
    backbone: str = "all-minilm-l6-v2"
    """The one that comes with Headrace, a folder, or an id on the Hugging Face hub."""
    start: str = ""
    """Artefact or checkpoint folder whose weights, and head where the labels are the same, are
    trained on; empty: the backbone's."""
    cased: bool = False
    """Give a backbone that reads lower case only a sense of capitals (`trainer.casing`)."""
    unlabelled: tuple[str, ...] = ()
    """Files of texts without labels, for the strategies that learn from such; without any they
    use the labelled texts."""
    marking: Marking = "mention"
    """How the target of a pair is shown in the text."""
    max_tokens: Annotated[int, Meta(ge=8)] = 128
    epochs: Positive = 3
    warm_epochs: Annotated[float, Meta(ge=0)] = 0
    """Epochs of a version that goes on from the live one's weights (`trainer.warm_start`); 0:
    every version is trained from the backbone."""
    warm_rate: Annotated[float, Meta(gt=0, le=1)] = 0.2
    """Share of the learning rates at which it does."""
    max_steps: Annotated[int, Meta(ge=-1)] = -1
    """Optimiser steps, where more than 0; it then wins over `epochs`."""
    batch_size: Count = 16
    """Rows of one process in one pass; `accumulate` passes and all processes make a step."""
    accumulate: Count = 1
    """Passes whose gradients are added up before the weights move."""
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
    mixed_precision: Literal["auto", "off", "bf16", "fp16"] = "auto"
    """`auto` takes bfloat16 where the device multiplies it itself."""
    sharding: Literal["none", "full"] = "none"
    """`full` spreads the weights over all processes (FSDP), for models that fit none of them."""
    precisions: tuple[Literal["int8", "fp16"], ...] = ("int8",)
    """Precisions exported beside fp32; a kernel on a GPU takes fp16."""
    seed: int = 17
