"""Who Headrace is compared with: the script of each peer, and what it guarantees.

The scripts in `proof/peers` stand for themselves: no module of ours is imported there, and
each runs in an environment of its own (`peer_environments`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

Precision = Literal["fp32", "int8"]

SCRIPTS: Final = Path(__file__).resolve().parent.parent / "peers"
BOTH: Final[tuple[Precision, ...]] = ("fp32", "int8")


@dataclass(frozen=True, slots=True)
class Peer:
    """One way to put the same model behind Kafka."""

    name: str
    about: str
    script: str
    requirements: str
    guarantee: str
    """What it really gives, whatever it is called."""
    why: str
    variant: str = ""
    precisions: tuple[Precision, ...] = BOTH

    def command(self, python: Path, model: Path, precision: Precision) -> list[str]:
        """What starts it, but for the broker, the topics and the group."""
        given = [str(python), str(SCRIPTS / f"{self.script}.py"), "--model", str(model)]
        return [
            *given,
            *("--precision", precision),
            *(("--variant", self.variant) if self.variant else ()),
        ]


PEERS: Final = (
    Peer(
        "faust-pipeline",
        "Faust agent, transformers pipeline per event",
        "faust_pipeline",
        "faust-transformers",
        "at least once, but for answers in the producer's buffer",
        "`topic.send` returns before the broker has the answer; the event's offset may be "
        "committed first",
        precisions=("fp32",),
    ),
    Peer(
        "faust-batches",
        "Faust agent, `take(32)`, ONNX Runtime",
        "faust_batches",
        "faust-onnx",
        "at least once",
        "the batch is acknowledged when all its answers are; a crash before the next commit "
        "(2.8 s) answers again",
    ),
    Peer(
        "quix",
        "Quix Streams, per event, ONNX Runtime",
        "quix_streams",
        "quix",
        "at least once",
        "a checkpoint flushes the producer and then commits offsets, each 5 s; a crash answers "
        "what came since again",
        variant="at-least-once",
    ),
    Peer(
        "quix-exactly-once",
        "Quix Streams, per event, exactly-once, ONNX Runtime",
        "quix_streams",
        "quix",
        "exactly once",
        "a checkpoint is a transaction with offsets and the group's generation; answers are "
        "readable when it commits, each 5 s",
        variant="exactly-once",
    ),
    Peer(
        "faststream",
        "FastStream, batch subscriber of 32, ONNX Runtime",
        "faststream_batches",
        "faststream",
        "at least once",
        "offsets are committed after the handler has seen all answers acknowledged; by default "
        "it would be at most once",
    ),
    Peer(
        "infinity-onnx",
        "Infinity engine, ONNX, fed by aiokafka",
        "infinity_engine",
        "infinity",
        "at least once",
        "answers of a poll are put back into order and acknowledged before its offsets are "
        "committed; the engine itself knows no offsets",
        variant="onnx",
    ),
    Peer(
        "infinity-torch",
        "Infinity engine, torch, fed by aiokafka",
        "infinity_engine",
        "infinity",
        "at least once",
        "as with ONNX",
        variant="torch",
        precisions=("fp32",),
    ),
    Peer(
        "aiokafka-batches",
        "plain aiokafka, `getmany(32)`, ONNX Runtime",
        "aiokafka_batches",
        "aiokafka",
        "at least once",
        "offsets are committed after the answers are acknowledged",
    ),
    Peer(
        "aiokafka-sorted",
        "plain aiokafka, 256 in a transaction, sorted inside, ONNX Runtime",
        "aiokafka_sorted",
        "aiokafka",
        "exactly once until a rebalance",
        "one transactional id for the process and no generation with the offsets: a member that "
        "lost its partitions is not fenced and may commit what another answers too",
    ),
)
NAMES: Final = tuple(one.name for one in PEERS)


def chosen(names: tuple[str, ...]) -> tuple[Peer, ...]:
    """The peers of these names; without names all.

    Raises:
        ValueError: there is none of such a name.
    """
    if unknown := set(names) - set(NAMES):
        raise ValueError(f"no peer {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    return tuple(one for one in PEERS if not names or one.name in names)
