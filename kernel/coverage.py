"""Which offsets of a partition are done: what lets work over ranges stop, go on and overlap."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from streams.bookmark import METADATA_LIMIT

Span = tuple[int, int]
"""Offsets from the first to before the second."""


class CoverageError(Exception):
    """The commit metadata cannot hold or does not hold a coverage; the message says what to do."""


class Coverage:
    """A set of offsets as spans: disjoint, apart from each other, and in order.

    It travels in the metadata of an offset commit, inside the transaction of the results.
    """

    def __init__(self, spans: Iterable[Span] = ()) -> None:
        self.spans: list[Span] = []
        for begin, end in spans:
            self.add(begin, end)

    def add(self, begin: int, end: int) -> None:
        """Take in the offsets from `begin` to before `end`."""
        if begin >= end:
            return
        apart = [one for one in self.spans if one[1] < begin or one[0] > end]
        touched = [one for one in self.spans if one not in apart]
        merged = (
            min([begin, *(one[0] for one in touched)]),
            max([end, *(one[1] for one in touched)]),
        )
        self.spans = sorted([*apart, merged])

    def missing(self, begin: int, end: int) -> list[Span]:
        """The spans between `begin` and `end` that are not covered, in order."""
        found: list[Span] = []
        for done_from, done_to in self.spans:
            if begin < min(done_from, end):
                found.append((begin, min(done_from, end)))
            begin = max(begin, done_to)
        if begin < end:
            found.append((begin, end))
        return found

    def dump(self) -> str:
        """Commit metadata.

        Raises:
            CoverageError: where it is longer than Kafka's default limit.
        """
        text = msgspec.json.encode(self.spans).decode()
        if len(text) > METADATA_LIMIT:
            raise CoverageError(
                f"{len(self.spans)} separate ranges are more than a commit can remember: "
                "ask for one range that spans some of them"
            )
        return text

    @classmethod
    def load(cls, metadata: str | None) -> Coverage:
        """The coverage that `dump` wrote; empty for no metadata.

        Raises:
            CoverageError: where another program committed for this group.
        """
        if not metadata:
            return cls()
        try:
            return cls(msgspec.json.decode(metadata, type=list[Span]))
        except msgspec.DecodeError as error:
            raise CoverageError(
                f"the group's commit metadata is not Headrace's ({error}): another program "
                "commits for this group"
            ) from error
