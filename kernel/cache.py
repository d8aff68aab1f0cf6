"""The result cache: the same input under the same model version is scored once.

Retweets and syndicated news are a large share of real feeds. Keys are digests of
the input, so an entry's size does not grow with its text; the bound is on bytes.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from typing import Final, Generic, Protocol, TypeVar

KEY_BYTES: Final = 200
"""Measured resident size of a key and its share of the table."""


class Sized(Protocol):
    """Whatever knows how much memory it takes."""

    @property
    def nbytes(self) -> int:
        """In bytes, about."""


Value = TypeVar("Value", bound=Sized)


def input_key(task: str, version: str, precision: str, text: str, target: str | None) -> bytes:
    """16 bytes that stand for an input under one version of a task's model and one precision."""
    digest = hashlib.blake2b(digest_size=16)
    for part in (task, version, precision, "" if target is None else f"t{target}", text):
        encoded = part.encode("utf-8", "surrogatepass")
        digest.update(len(encoded).to_bytes(8, "big"))
        digest.update(encoded)
    return digest.digest()


class ResultCache(Generic[Value]):
    """What was said to inputs, by their keys; the least recently used go first."""

    def __init__(self, megabytes: float) -> None:
        self._room = int(megabytes * 1e6)
        self._entries: OrderedDict[bytes, Value] = OrderedDict()
        self.nbytes = 0
        """What the entries take."""
        self.hits = 0

    def __len__(self) -> int:
        """Count of entries."""
        return len(self._entries)

    def get(self, key: bytes) -> Value | None:
        """What was said to an input, or None."""
        value = self._entries.get(key)
        if value is not None:
            self._entries.move_to_end(key)
            self.hits += 1
        return value

    def put(self, key: bytes, value: Value) -> None:
        """Remember a value, at the expense of the least recently used."""
        size = KEY_BYTES + value.nbytes
        if size > self._room:
            return
        before = self._entries.pop(key, None)
        if before is not None:
            self.nbytes -= KEY_BYTES + before.nbytes
        self._entries[key] = value
        self.nbytes += size
        while self.nbytes > self._room:
            _, gone = self._entries.popitem(last=False)
            self.nbytes -= KEY_BYTES + gone.nbytes
