"""The local index: what the topics said, in SQLite, so that a page need not read them again.

It is never a source of truth: it is built from the topics, remembers up to which offset, and
is built anew where it is absent, damaged, of another version or of another cluster. Rows and
offsets commit together, so a kill leaves it at a point that the topics continue.

SQLite was chosen by measuring (docs/console.md): 60,000 rows a second go in on one core, and
each query of a page takes under a millisecond at a million results.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
from pathlib import Path
from typing import Final

from web.tables import ADD_MINUTES, ADD_TICKERS, INSERTS, SCHEMA, VERSION, Batch

log = logging.getLogger(__name__)

MAX_ROWS: Final = {
    "feed": 1_000_000,
    "requests": 500_000,
    "results": 2_000_000,
    "alerts": 200_000,
    "dead": 200_000,
    "audit": 200_000,
}
"""Newest rows kept of each table; older ones stay on their topics."""
MAX_MINUTES: Final = 3_000_000
_PRUNE_EVERY: Final = 200_000
"""Rows between two looks at what is too old."""

Offsets = dict[tuple[str, int], int]


class Index:
    """Writes the index of one data folder; one at a time, from one thread at a time."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "index.sqlite"
        self._db: sqlite3.Connection | None = None
        self._since_prune = 0

    def open(self, cluster_id: str) -> Offsets:
        """Open for this cluster, anew where it must; the next offset of each partition."""
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            self._db = self._connect()
            identity = dict(self._db.execute("select name, value from meta"))
            fits = identity == {"cluster": cluster_id, "version": str(VERSION)}
        except sqlite3.DatabaseError:
            fits = False
        if not fits:
            self.clear(cluster_id)
        return {
            (topic, part): following
            for topic, part, following in self._connected().execute("select * from offsets")
        }

    def clear(self, cluster_id: str) -> None:
        """Begin an empty index.

        An open reader keeps the old file until it asks again; `Reader` looks at each question.
        """
        self.close()
        for suffix in ("", "-wal", "-shm"):
            self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)
        self._db = self._connect()
        with self._db:
            self._db.executescript(SCHEMA)
            self._db.executemany(
                "insert into meta values (?, ?)",
                [("cluster", cluster_id), ("version", str(VERSION))],
            )

    def apply(self, batch: Batch) -> None:
        """Take in a batch and its offsets, both or neither."""
        db = self._connected()
        with db:
            for table, rows in batch.rows.items():
                db.executemany(INSERTS[table], rows)
            db.executemany(ADD_MINUTES, [(*key, *sums) for key, sums in batch.minutes.items()])
            db.executemany(ADD_TICKERS, [(key, *sums) for key, sums in batch.tickers.items()])
            db.executemany("delete from labels where id = ?", [(one,) for one in batch.withdrawn])
            self.move(batch.next_offsets)
        self._since_prune += sum(len(rows) for rows in batch.rows.values())
        if self._since_prune >= _PRUNE_EVERY:
            self._since_prune = 0
            self.prune()

    def move(self, offsets: Offsets) -> None:
        """Remember offsets within the open transaction."""
        self._connected().executemany(
            "insert or replace into offsets values (?, ?, ?)",
            [(topic, part, following) for (topic, part), following in offsets.items()],
        )

    def prune(self) -> None:
        """Let go of what lies beyond the bounds, oldest first."""
        db = self._connected()
        with db:
            for table, most in MAX_ROWS.items():
                db.execute(
                    f"delete from {table} where ts < (select ts from {table} "  # noqa: S608
                    "order by ts desc limit 1 offset ?)",
                    (most,),
                )
            (count,) = db.execute("select count(*) from minutes").fetchone()
            if count > MAX_MINUTES:
                db.execute(
                    "delete from minutes where bucket < (select bucket from minutes "
                    "order by bucket desc limit 1 offset ?)",
                    (MAX_MINUTES,),
                )

    def close(self) -> None:
        """Close the file."""
        if self._db is not None:
            with contextlib.suppress(sqlite3.Error):
                self._db.close()
            self._db = None

    def _connected(self) -> sqlite3.Connection:
        if self._db is None:
            raise RuntimeError("the index is not open")
        return self._db

    def _connect(self) -> sqlite3.Connection:
        db = sqlite3.connect(self.path, check_same_thread=False, timeout=30)
        db.execute("pragma journal_mode=wal")
        # A power cut may cost the newest batches: the topics still have them.
        db.execute("pragma synchronous=off")
        db.execute("pragma cache_size=-32768")
        self.path.chmod(0o600)
        return db
