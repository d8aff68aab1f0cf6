"""Strategies: ways to train, each in a file of its own, chosen by name in a recipe.

A base strategy says what is trained (`strategy`); options are added to it (`[options.NAME]`).
The names are kept here, so that a recipe can be checked without loading torch.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import msgspec

from trainer.errors import RefusedError, TrainerError

if TYPE_CHECKING:
    from trainer.recipe import Recipe
    from trainer.strategies.base import Strategy

BASES: Final[dict[str, str]] = {
    "full": "full:Full",
    "lora": "tuning:Lora",
    "prefix": "tuning:Prefix",
    "adapter": "tuning:Adapter",
    "few-shot": "few_shot:FewShot",
    "zero-shot": "zero_shot:ZeroShot",
}
"""What is trained, and where it is written."""
OPTIONS: Final[dict[str, str]] = {
    "mlm": "mlm:MaskedLanguage",
    "self-training": "self_training:SelfTraining",
    "fgm": "adversarial:Fgm",
    "pgd": "adversarial:Pgd",
    "r-drop": "r_drop:RDrop",
    "mixup": "mixup:Mixup",
    "augment": "augment:Augment",
    "counterfactual": "counterfactual:Counterfactual",
    "distil": "distil:Distil",
    "prune": "prune:Prune",
    "ema": "averaging:Ema",
    "swa": "averaging:Swa",
    "ensemble": "ensemble:Ensembling",
    "early-stopping": "early_stopping:EarlyStopping",
    "continual": "continual:Continual",
}
"""What may be added."""


def check(strategy: str, options: Mapping[str, Any]) -> None:
    """Refuse names that no strategy has.

    Raises:
        TrainerError: with the names there are.
    """
    if strategy not in BASES:
        raise TrainerError(f"no strategy {strategy!r}: there are {', '.join(BASES)}")
    for name in options:
        if name not in OPTIONS and name != strategy:
            raise TrainerError(
                f"no option {name!r} beside the strategy {strategy!r}: there are "
                f"{', '.join(OPTIONS)}"
            )


def of(recipe: Recipe) -> list[Strategy]:
    """The strategies that `recipe` names, the base first.

    Raises:
        RefusedError: a setting is not understood.
    """
    check(recipe.strategy, recipe.options)
    names = [recipe.strategy, *(name for name in recipe.options if name != recipe.strategy)]
    return [_make(name, recipe.options.get(name, {})) for name in names]


def _make(name: str, settings: dict[str, Any]) -> Strategy:
    module, _, kind = {**BASES, **OPTIONS}[name].partition(":")
    strategy = getattr(importlib.import_module(f"{__name__}.{module}"), kind)
    try:
        made: Strategy = msgspec.convert(settings, strategy)
    except msgspec.ValidationError as error:
        known = ", ".join(strategy.__struct_fields__) or "none"
        raise RefusedError(f"[options.{name}]: {error}; its settings are: {known}") from error
    return made
