"""The shapes in which batches meet a GPU: few of them, so that nothing is planned under load."""

from __future__ import annotations

from collections.abc import Iterator


def rows(count: int) -> int:
    """`count` rounded up to 1, 2, 3, 4, 6, 8, 12, 16, 24, …: at most a third is padding."""
    power = 1 << max(0, count - 1).bit_length()
    return power * 3 // 4 if power >= 4 and count <= power * 3 // 4 else power


def length(tokens: int, most: int) -> int:
    """`tokens` rounded up to eights, beyond 128 to 32s, beyond 512 to 128s; at most `most`."""
    step = 8 if tokens <= 128 else 32 if tokens <= 512 else 128
    return max(tokens, min(-(-tokens // step) * step, most))


def lengths(most: int) -> Iterator[int]:
    """Every length that `length` gives for up to `most` tokens."""
    found = 0
    while found < most:
        found = length(found + 1, most)
        yield found
