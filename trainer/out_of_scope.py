"""Out of scope: how readily a model says that none of its labels fits.

Such inputs have a label of their own, the task's `out_of_scope`. Few of them are labelled as a
rule, and they can be about anything, so the label is said too rarely. Its logit is raised for
good, on one half of the held-back rows, for as long as others lose no more than `MOST_LOST` of
their accuracy by it; a driver needs to know nothing of it.
Method: a constant added to a label's logit (Menon et al., 2021, "Long-Tail Learning via Logit
Adjustment"), chosen on rows set aside, as the threshold of Larson et al. (2019), "An Evaluation
Dataset for Intent Classification and Out-of-Scope Prediction".
"""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from trainer.calibration import log_probabilities

MOST_LOST: Final = 0.01
"""Share of the inputs in scope that may go wrong by it."""
MIN_ROWS: Final = 20
"""Of either kind, to choose on; with fewer the label is said as it was learned."""


def shift(probabilities: NDArray[np.float32], truth: NDArray[np.int64], label: int) -> float:
    """What to add to the logit of `label`, at least 0, by `probabilities` [rows, labels].

    It lies halfway between the last input out of scope that it wins and the next in scope that
    more would lose.
    """
    logits = log_probabilities(probabilities)
    own = logits[:, label].copy()
    logits[:, label] = -np.inf
    outside = truth == label
    ahead = logits.max(axis=1) - own  # by so much the label falls short of being said
    if outside.sum() < MIN_ROWS or (~outside).sum() < MIN_ROWS:
        return 0.0
    right = ~outside & (logits.argmax(axis=1) == truth) & (ahead > 0)
    to_lose = np.sort(ahead[right])
    may_lose = int(MOST_LOST * (~outside).sum())
    limit = to_lose[may_lose] if may_lose < len(to_lose) else np.inf
    to_win = ahead[outside & (ahead >= 0) & (ahead < limit)]
    if not len(to_win):
        return 0.0
    won = float(to_win.max())
    beyond = to_lose[to_lose > won]
    return (won + float(beyond[0])) / 2 if len(beyond) else won + 1.0


def fold(head: torch.nn.Linear, label: int, added: float) -> None:
    """Raise the logit of `label` that `head` gives by `added`, for good."""
    with torch.no_grad():
        head.bias[label] += added
