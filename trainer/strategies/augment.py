"""Augmentation: other words for the same label."""

from __future__ import annotations

import importlib
import random
import re
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import entry_points
from typing import Final

import torch

from trainer.dataset import Row
from trainer.errors import RefusedError
from trainer.strategies.base import Strategy, Work

TRANSLATORS: Final = "headrace.translators"
"""Entry-point group of translators: functions from texts to texts said again, in as many."""
_WORD: Final = re.compile(r"\w+")
_BATCH: Final = 64
_CANDIDATES: Final = 10

Translator = Callable[[list[str]], list[str]]


class Augment(Strategy, frozen=True, kw_only=True):
    """Adds changed copies of the rows; the target of a pair is never changed."""

    dropout: float = 0.0
    """Share of the words that a copy leaves out; 0: no such copy (Wei and Zou, 2019)."""
    synonyms: float = 0.0
    """Share of the words that a copy replaces by what the masked-language head says."""
    back_translation: str = ""
    """Name of an entry point of `headrace.translators`, or `package.module:function`."""
    copies: int = 1

    def prepare(self, work: Work) -> None:
        """Add the copies."""
        if work.task.answer == "tags":
            raise RefusedError("augment changes words, and with them what tags belong to")
        dice = random.Random(work.recipe.seed)
        added: list[Row] = []
        for number in range(self.copies):
            if self.dropout:
                texts = [self._thinned(row, dice) for row in work.rows]
                added += _copies(work.rows, texts, f"thinned-{number}")
            if self.synonyms:
                added += _copies(work.rows, self._replaced(work, dice), f"synonyms-{number}")
        if self.back_translation:
            texts = _translate(self.back_translation, [row.text for row in work.rows])
            added += _copies(work.rows, texts, "translated")
        if not (self.dropout or self.synonyms or self.back_translation):
            raise RefusedError("augment needs dropout, synonyms or back_translation to be set")
        work.figures["augmented"] = float(len(added))
        work.restarted([*work.rows, *added])

    def _thinned(self, row: Row, dice: random.Random) -> str:
        kept = [
            word
            for word in row.text.split()
            if dice.random() >= self.dropout or _is_of(word, row.target)
        ]
        return " ".join(kept)

    def _replaced(self, work: Work, dice: random.Random) -> list[str]:
        """Each text with some words as the masked-language head would say them."""
        if work.masked_language is None:
            raise RefusedError(
                "augment's synonyms come from a masked-language head: add [options.mlm] before it"
            )
        mask = work.tokenizer.id_to_token(work.tokenizer.token_to_id("[MASK]"))
        found = []
        for row in work.rows:
            text = row.text
            words = [one for one in _WORD.finditer(text) if not _is_of(one.group(), row.target)]
            count = max(1, round(len(words) * self.synonyms)) if words else 0
            for one in sorted(dice.sample(words, min(count, len(words))), key=lambda w: -w.start()):
                hidden = f"{text[: one.start()]}{mask}{text[one.end() :]}"
                said = _guess(work, hidden, one.group().casefold(), dice)
                if said:
                    text = f"{text[: one.start()]}{said}{text[one.end() :]}"
            found.append(text)
        return found


def _copies(rows: list[Row], texts: list[str], what: str) -> list[Row]:
    return [
        replace(row, id=f"{row.id}#{what}", text=text)
        for row, text in zip(rows, texts, strict=True)
        if text.strip() and text != row.text and (row.target is None or row.target in text)
    ]


def _is_of(word: str, target: str | None) -> bool:
    return target is not None and word.strip(".,:;!?") in target


@torch.inference_mode()
def _guess(work: Work, text: str, known: str, dice: random.Random) -> str:
    """A likely word in the place of the mask, other than `known`; empty where there is none."""
    found = work.tokenizer.encode(text)
    mask = work.tokenizer.token_to_id("[MASK]")
    if mask not in found.ids:
        return ""  # cut off
    model = work.masked_language.eval()
    device = model.head_bias.device
    inputs = {
        "input_ids": torch.tensor([found.ids], device=device),
        "attention_mask": torch.tensor([found.attention_mask], device=device),
        "token_type_ids": torch.tensor([found.type_ids], device=device),
    }
    states = model.backbone(**{name: inputs[name] for name in work.collate.inputs})
    said = model.guesses(states.last_hidden_state[0, found.ids.index(mask)])
    likely = [work.tokenizer.id_to_token(int(one)) for one in said.topk(_CANDIDATES).indices]
    words = [one for one in likely if one and one.isalpha() and one.casefold() != known]
    return dice.choice(words) if words else ""


def _translate(name: str, texts: list[str]) -> list[str]:
    said = translator(name)(texts)
    if len(said) != len(texts):
        raise RefusedError(f"the translator {name} gave {len(said)} texts for {len(texts)}")
    return said


def translator(name: str) -> Translator:
    """The translator of that entry point or dotted name: from texts to texts said again.

    Raises:
        RefusedError: there is none.
    """
    try:
        for entry in entry_points(group=TRANSLATORS, name=name):
            found: Translator = entry.load()
            return found
        module, _, attribute = name.partition(":")
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise RefusedError(
            f"no translator {name!r}: name an entry point of {TRANSLATORS}, or package.module:"
            f"function that takes and gives a list of texts ({error})"
        ) from error
    return found
