"""The state of an agent's threads: a Faust table whose changelog the runtime writes.

A changelog value is `[source offset, state]`. On recovery the entry with the higher
source offset wins, not the later one: a zombie that wakes up can still append an
old state after its successor wrote a newer one (Kafka Streams fences this with
transactions, KAFKA-12693). Such a conflict is remembered, so that the newer state
is written again before compaction can drop it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, Generic, TypeVar

import msgspec
from faust.stores.base import Store
from faust.tables.table import Table

S = TypeVar("S")

ZOMBIE_LIFE_MS: Final = 3_600_000
"""How long a stopped process may sleep and still do no harm by what it writes."""


class Entry(msgspec.Struct, Generic[S], array_like=True, frozen=True):
    """State of a thread after the source event at `offset`."""

    offset: int
    state: S


class StateStore(Store):  # type: ignore[misc]
    """States in memory, by source partition; the changelog is what lasts."""

    def __init__(self, *args: Any, state_type: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._decoder = msgspec.json.Decoder(Entry[state_type])
        self._encode = msgspec.json.Encoder().encode
        self.partitions: defaultdict[int, dict[str, Entry[Any]]] = defaultdict(dict)
        self.applied: dict[int, int] = {}
        """By partition, the changelog offset up to which it was read back."""
        self.conflicts: set[tuple[int, str]] = set()
        self._logged: defaultdict[int, dict[str, int]] = defaultdict(dict)

    def get_entry(self, partition: int, thread: str) -> Entry[Any] | None:
        """The newest entry of a thread."""
        return self.partitions[partition].get(thread)

    def put_entry(self, partition: int, thread: str, entry: Entry[Any]) -> None:
        """Keep an entry; the caller sees to the changelog."""
        self.partitions[partition][thread] = entry

    def encode(self, entry: Entry[Any]) -> bytes:
        """The changelog's value of an entry."""
        return self._encode(entry)

    # What Faust asks of a store.

    def apply_changelog_batch(
        self,
        batch: Iterable[Any],
        to_key: Callable[[Any], Any],  # noqa: ARG002
        to_value: Callable[[Any], Any],  # noqa: ARG002
    ) -> None:
        """Apply records read back from the changelog: the higher source offset wins."""
        for event in batch:
            message = event.message
            self.apply(message.partition, message.offset, message.key, message.value)

    def apply(self, partition: int, log_offset: int, key: bytes, value: bytes | None) -> None:
        """Apply one changelog record."""
        self.applied[partition] = max(log_offset, self.applied.get(partition, -1))
        if value is None:
            return
        thread = key.decode()
        entry = self._decoder.decode(value)
        logged = self._logged[partition]
        if entry.offset < logged.get(thread, -1):
            self.conflicts.add((partition, thread))
        else:
            logged[thread] = entry.offset
            self.conflicts.discard((partition, thread))
        known = self.partitions[partition].get(thread)
        if known is None or entry.offset >= known.offset:
            self.partitions[partition][thread] = entry

    async def on_rebalance(
        self,
        assigned: set[Any],  # noqa: ARG002
        revoked: set[Any],
        newly_assigned: set[Any],  # noqa: ARG002
        generation_id: int = 0,  # noqa: ARG002
    ) -> None:
        """Drop what another worker owns now: Faust reads it from the start if it comes back."""
        for topic, partition in revoked:
            if topic == self.table.changelog_topic_name:
                self.drop(partition)

    async def on_recovery_completed(self, active_tps: set[Any], standby_tps: set[Any]) -> None:  # noqa: ARG002
        """Drop what belongs to partitions that are no longer ours."""
        ours = {partition for _, partition in active_tps}
        for partition in set(self.partitions) | set(self.applied):
            if partition not in ours:
                self.drop(partition)

    def drop(self, partition: int) -> None:
        """Forget a partition: its next owner writes its changelog."""
        self.partitions.pop(partition, None)
        self.applied.pop(partition, None)
        self._logged.pop(partition, None)
        self.conflicts = {found for found in self.conflicts if found[0] != partition}

    def persisted_offset(self, tp: Any) -> int | None:  # noqa: ARG002
        """Nothing is kept on disk: recovery reads the changelog."""
        return None

    def reset_state(self) -> None:
        """Nothing is kept on disk."""

    async def backup_partition(self, *args: Any, **kwargs: Any) -> None:
        """Nothing is kept on disk."""

    def restore_backup(self, *args: Any, **kwargs: Any) -> None:
        """Nothing is kept on disk."""

    def __getitem__(self, key: tuple[int, str]) -> Any:
        return self.partitions[key[0]][key[1]].state

    def __contains__(self, key: object) -> bool:
        return isinstance(key, tuple) and key[1] in self.partitions[key[0]]

    def __iter__(self) -> Iterator[tuple[int, str]]:
        return ((part, thread) for part, found in self.partitions.items() for thread in found)

    def __len__(self) -> int:
        return sum(map(len, self.partitions.values()))

    def __setitem__(self, key: tuple[int, str], value: Any) -> None:
        raise NotImplementedError("states are written by the executor, with their source offset")

    def __delitem__(self, key: tuple[int, str]) -> None:
        raise NotImplementedError("states are written by the executor, with their source offset")


class StateTable(Table):  # type: ignore[misc]
    """A Faust table over a `StateStore`: membership, recovery and hand-over are Faust's.

    Faust's own changelog writes are not used: it sends them at once, from a buffer
    and by another producer, so nothing would hold them back until the outputs of
    the same event are delivered. The executor writes them in its checkpoint.
    """

    def __init__(self, app: Any, *, state_type: Any, **kwargs: Any) -> None:
        self._state_type = state_type
        super().__init__(app, key_type=bytes, value_type=bytes, **kwargs)

    def _new_store(self) -> StateStore:
        return StateStore(
            "memory://", self.app, self, table_name=self.name, state_type=self._state_type
        )

    @property
    def store(self) -> StateStore:
        """The store, typed."""
        store: StateStore = self.data
        return store
