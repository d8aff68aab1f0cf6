"""What passes from a fetch to an agent: records of one partition, as they lie there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Batch:
    """Records of one partition in order, fetched in one generation of the group.

    They cover the offsets from `begin` up to, not including, `end`; offsets between
    that have no record are markers of transactions, or aborted, or compacted away.
    """

    tp: Any
    generation: int
    begin: int
    end: int
    records: list[Any]
