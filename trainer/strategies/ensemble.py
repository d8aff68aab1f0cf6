"""Ensembles: several trainings with other seeds, whose answers or weights are averaged."""

from __future__ import annotations

import copy
from typing import Any, Literal

import torch
from transformers import set_seed

from trainer.network import Ensemble
from trainer.strategies.base import Strategy, Work


class Ensembling(Strategy, frozen=True, kw_only=True):
    """`answers` asks all members each time; `weights` serves one network, their mean (a "soup")."""

    members: int = 3
    combine: Literal["answers", "weights"] = "answers"

    def prepare(self, work: Work) -> None:
        """Remember where each member begins."""
        work.extra["fresh"] = copy.deepcopy(work.model)
        work.extra["members"] = []

    def again(self, work: Work, done: int) -> bool:
        """Put the trained member aside and begin the next one."""
        trained: list[Any] = work.extra["members"]
        trained.append(work.model)
        if done >= self.members:
            return False
        work.model = copy.deepcopy(work.extra["fresh"])
        set_seed(work.recipe.seed + done)
        if self.combine == "answers":  # the mean of weights needs heads that began alike
            torch.nn.init.normal_(work.model.head.weight, std=0.02)
        return True

    def finish(self, work: Work) -> None:
        """One network of all."""
        members: list[Any] = work.extra.pop("members")
        work.extra.pop("fresh")
        if self.combine == "answers":
            work.model = Ensemble(members)
            return
        states = [member.state_dict() for member in members]
        mean = {
            name: torch.stack([state[name].float() for state in states]).mean(dim=0).to(first.dtype)
            for name, first in states[0].items()
        }
        work.model = members[0]
        work.model.load_state_dict(mean)
