"""How what a model says to the windows of a long text becomes one answer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from kernel.drivers.encoding import Window


def mean(windows: Sequence[Window], outputs: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """The outputs' mean, weighted by the windows' tokens; all of one shape.

    What windows share counts twice, as it was read twice.
    """
    if len(outputs) == 1:
        return outputs[0]
    weights = np.array([window.tokens for window in windows], np.float32)
    pooled: NDArray[np.float32] = np.tensordot(weights / weights.sum(), np.stack(outputs), 1)
    return pooled


def highest(outputs: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """The highest of each number over all windows.

    For relevance: the best passage speaks for the text (MaxP: Dai and Callan, "Deeper Text
    Understanding for IR with Contextual Neural Language Modeling", SIGIR 2019).
    """
    pooled: NDArray[np.float32] = np.max(np.stack(outputs), axis=0)
    return pooled


def central(
    windows: Sequence[Window], outputs: Sequence[NDArray[np.float32]]
) -> NDArray[np.float32]:
    """Outputs of the text's tokens, each from the window in which it stands furthest from a cut.

    Output i has shape [tokens of the text in window i, ...]; the answer [tokens, ...]. Two
    windows share out what both read at its middle.
    """
    pieces: list[NDArray[np.float32]] = []
    begin = 0
    for window, following, output in zip(windows, [*windows[1:], None], outputs, strict=True):
        end = window.first + window.content
        if following is not None:
            end = (following.first + end + 1) // 2
        pieces.append(output[begin - window.first : end - window.first])
        begin = end
    return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
