"""What a lane remembers in its commit: watermarks per source, model version per task.

It travels in the metadata of the offset commit, inside the same transaction as
the results, so it is true exactly when they are. Kafka keeps at most
`offset.metadata.max.bytes` of it (4,096 by default).
"""

from __future__ import annotations

from typing import Final

import msgspec

from schemas.events import Cause

METADATA_LIMIT: Final = 4_096
_VERSIONS_ROOM: Final = 512
"""What is kept free for the versions and the braces."""
_MAX_OFFSET: Final = 10**15
_MAX_INDEX: Final = 10**6
_MAX_PARTITION: Final = 10**5
"""No partition and no event gets so far; with these bounds the length of an entry is known."""
_ENTRY: Final = len(f'"{_MAX_PARTITION - 1}":[{_MAX_OFFSET - 1},{_MAX_INDEX - 1}],')

Source = tuple[str, str, int]
"""Agent, topic and partition: within a lane, positions of one source only rise."""
Place = tuple[int, int]
"""Offset of the source event, index of the message among those that it caused."""


class BookmarkError(Exception):
    """The commit metadata cannot be written or read; the message says what to do."""


class _Written(msgspec.Struct, frozen=True):
    w: dict[str, dict[str, dict[str, Place]]] = {}
    v: dict[str, str] = {}


class Bookmark:
    """Watermarks and versions up to one offset of a lane."""

    def __init__(
        self, places: dict[Source, Place] | None = None, versions: dict[str, str] | None = None
    ) -> None:
        self._places = dict(places or {})
        self.versions = dict(versions or {})

    def covers(self, cause: Cause) -> bool:
        """Whether `cause` lies at or below the watermark of its source: a replay."""
        place = self._places.get((cause.agent, cause.topic, cause.partition))
        return place is not None and (cause.offset, cause.index) <= place

    def admits(self, cause: Cause) -> bool:
        """Whether the watermark of `cause` would still fit, whatever comes after it.

        One made-up cause must not grow the metadata until no commit goes through.
        """
        if (
            cause.offset >= _MAX_OFFSET
            or cause.index >= _MAX_INDEX
            or cause.partition >= _MAX_PARTITION
        ):
            return False
        source = (cause.agent, cause.topic, cause.partition)
        if source in self._places:
            return True
        sources = [*self._places, source]
        names = {(agent, topic) for agent, topic, _ in sources}
        # Names in JSON take at most six bytes a character; `len` of the dump would not do,
        # because the offsets in it grow.
        named = sum(len(msgspec.json.encode(name)) + 8 for name in names)
        return named + _ENTRY * len(sources) <= METADATA_LIMIT - _VERSIONS_ROOM

    def advance(self, cause: Cause) -> None:
        """Raise the watermark of the cause's source to it."""
        self._places[(cause.agent, cause.topic, cause.partition)] = (cause.offset, cause.index)

    def copy(self) -> Bookmark:
        """An independent copy."""
        return Bookmark(self._places, self.versions)

    def dump(self) -> str:
        """Commit metadata.

        Raises:
            BookmarkError: where it is longer than Kafka's default limit.
        """
        written: dict[str, dict[str, dict[str, Place]]] = {}
        for (agent, topic, partition), place in self._places.items():
            written.setdefault(agent, {}).setdefault(topic, {})[str(partition)] = place
        text = msgspec.json.encode(_Written(written, self.versions)).decode()
        if len(text) > METADATA_LIMIT:
            raise BookmarkError(
                f"a lane's watermarks take {len(text)} bytes of commit metadata, over Kafka's "
                f"default of {METADATA_LIMIT}: use fewer source partitions for this agent"
            )
        return text

    @classmethod
    def load(cls, metadata: str | None) -> Bookmark:
        """The bookmark that `dump` wrote; empty for no metadata.

        Raises:
            BookmarkError: where another program committed for this group.
        """
        if not metadata:
            return cls()
        try:
            written = msgspec.json.decode(metadata, type=_Written)
        except msgspec.DecodeError as error:
            raise BookmarkError(
                f"the group's commit metadata is not Headrace's ({error}): another program "
                "commits for this group; give Headrace a group of its own"
            ) from error
        places = {
            (agent, topic, int(partition)): place
            for agent, topics in written.w.items()
            for topic, partitions in topics.items()
            for partition, place in partitions.items()
        }
        return cls(places, written.v)
