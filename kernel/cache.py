"""The result cache: the same input under the same model version is scored once.

Retweets and syndicated news are a large share of real feeds. Keys are digests of
the input, so an entry's size does not grow with its text; the bound is on bytes.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

ENTRY_BYTES: Final = 500
"""Measured resident size of an entry of three scores, its key and the table's share."""


def input_key(version: str, precision: str, text: str, target: str | None) -> bytes:
    """16 bytes that stand for an input under one model version and precision."""
    digest = hashlib.blake2b(digest_size=16)
    for part in (version, precision, "" if target is None else f"t{target}", text):
        encoded = part.encode("utf-8", "surrogatepass")
        digest.update(len(encoded).to_bytes(8, "big"))
        digest.update(encoded)
    return digest.digest()


class ResultCache:
    """Scores by input key; the least recently used ones go first."""

    def __init__(self, megabytes: float) -> None:
        self._room = int(megabytes * 1e6 / ENTRY_BYTES)
        self._entries: OrderedDict[bytes, Sequence[float]] = OrderedDict()
        self.hits = 0

    def __len__(self) -> int:
        """Count of entries."""
        return len(self._entries)

    def get(self, key: bytes) -> Sequence[float] | None:
        """The scores of an input, or None."""
        scores = self._entries.get(key)
        if scores is not None:
            self._entries.move_to_end(key)
            self.hits += 1
        return scores

    def put(self, key: bytes, scores: Sequence[float]) -> None:
        """Remember scores, at the expense of the least recently used."""
        if self._room <= 0:
            return
        self._entries[key] = scores
        self._entries.move_to_end(key)
        while len(self._entries) > self._room:
            self._entries.popitem(last=False)
