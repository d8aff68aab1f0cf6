"""Which precision of a model serves."""

from __future__ import annotations

from typing import Final, Literal

from kernel.artefact import Manifest, Precision
from kernel.drivers.base import DriverError

MIN_AGREEMENT: Final = 0.99
"""A precision that agrees with fp32 less than this is not served."""


def choose_precision(
    manifest: Manifest, wanted: Precision | Literal["auto"] = "auto", *, gpu: bool
) -> Precision:
    """The precision that is wanted; `auto`: the fastest one that agrees with fp32 well enough.

    Raises:
        DriverError: the artefact has no such graph.
    """
    fast: Precision = "fp16" if gpu else "int8"
    agrees = manifest.agreement.get(fast, 0.0) >= MIN_AGREEMENT
    best: Precision = fast if agrees and fast in manifest.precisions else "fp32"
    chosen = best if wanted == "auto" else wanted
    if chosen not in manifest.precisions:
        raise DriverError(f"there is no {chosen} graph, only {', '.join(manifest.precisions)}")
    return chosen
