"""Settings of the embedded broker: Java's and Kafka's, each with its reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from schemas.topics import MAX_MESSAGE_BYTES

_MIB: Final = 1_048_576

JAVA_OPTIONS: Final = (
    # At most 800 MiB resident under load: heap, and around it code, threads and mapped indexes.
    "-Xms96m",
    "-Xmx384m",
    "-XX:MaxDirectMemorySize=96m",
    "-XX:+UseSerialGC",  # no collector threads: the cheapest on two cores with so small a heap
    # The quick compiler alone: up in half the time, and half the CPU per message at the load of
    # one machine, because the thorough one competes with the models for two cores.
    "-XX:TieredStopAtLevel=1",
    "-XX:+ExitOnOutOfMemoryError",  # a broker that lost a thread answers half of the questions
    "-XX:-UsePerfData",
    "-Djava.awt.headless=true",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSSXXX",
)

SEAT_JAVA_OPTIONS: Final = ("-Xms64m", "-Xmx160m", "-XX:MaxDirectMemorySize=48m")
"""Above ours for a broker of a cluster on one machine: three of them fit in about 1 GiB."""

_SETTINGS: Final[dict[str, object]] = {
    "process.roles": "broker,controller",
    "controller.listener.names": "CONTROLLER",
    "listener.security.protocol.map": "BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT",
    "inter.broker.listener.name": "BROKER",
    # Topics come from the catalogue; a mistyped name is an error, not a new topic.
    "auto.create.topics.enable": "false",
    "num.partitions": 1,
    "default.replication.factor": 1,
    "offsets.topic.replication.factor": 1,
    "offsets.topic.num.partitions": 4,
    "transaction.state.log.replication.factor": 1,
    "transaction.state.log.min.isr": 1,
    "transaction.state.log.num.partitions": 4,
    "share.coordinator.state.topic.replication.factor": 1,
    "share.coordinator.state.topic.min.isr": 1,
    "share.coordinator.state.topic.num.partitions": 1,
    # Lanes keep their place and their watermarks in committed offsets: a laptop that was
    # switched off for a week (the default) must not forget them.
    "offsets.retention.minutes": 2_147_483_647,
    "group.initial.rebalance.delay.ms": 0,
    "group.min.session.timeout.ms": 1_000,
    "transaction.max.timeout.ms": 900_000,
    # A transaction whose owner died holds back read_committed readers until it is aborted.
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": 1_000,
    "message.max.bytes": MAX_MESSAGE_BYTES,
    "replica.fetch.max.bytes": MAX_MESSAGE_BYTES,
    # A broker that was killed may register again only when its old session has run out.
    "broker.session.timeout.ms": 3_000,
    "broker.heartbeat.interval.ms": 500,
    # Bounds on what requests may hold of the heap.
    "socket.request.max.bytes": 32 * _MIB,
    "queued.max.request.bytes": 64 * _MIB,
    "num.network.threads": 2,
    "num.io.threads": 4,
    "num.replica.fetchers": 1,
    "background.threads": 2,
    "num.recovery.threads.per.data.dir": 2,
    # Smaller files than a server's: retention frees whole segments, recovery reads the last.
    "log.segment.bytes": 128 * _MIB,
    "log.index.size.max.bytes": _MIB,
    "log.cleaner.threads": 1,
    "log.cleaner.dedupe.buffer.size": 16 * _MIB,
    "log.cleaner.io.buffer.size": _MIB,
    # The controller's own log: by default an entry each half second, for ever.
    "metadata.max.idle.interval.ms": 5_000,
    "metadata.log.segment.bytes": 32 * _MIB,
    "metadata.max.retention.bytes": 64 * _MIB,
}


@dataclass(frozen=True, kw_only=True)
class Seat:
    """The place of a broker among others of one cluster, all on this machine."""

    node: int
    cluster_id: str
    voters: Mapping[int, int]
    """Loopback port of each node's controller, its own included; they never change."""


def properties(
    *,
    port: int,
    controller_port: int,
    data: str,
    more: Mapping[str, str] | None = None,
    seat: Seat | None = None,
) -> str:
    """Text of `server.properties`; `data` is relative to the folder that Java runs in.

    Relative because Kafka splits its list of log directories at commas. `more` goes above
    our settings, but for its `listeners`, which are added to ours.
    """
    above = dict(more or {})
    node = 1 if seat is None else seat.node
    voters = {node: controller_port} if seat is None else seat.voters
    listeners = ",".join(filter(None, (f"BROKER://127.0.0.1:{port}", above.pop("listeners", ""))))
    settings = (
        _SETTINGS
        | above
        | {
            "listeners": f"{listeners},CONTROLLER://127.0.0.1:{controller_port}",
            "advertised.listeners": listeners,
            "node.id": node,
            "controller.quorum.voters": ",".join(
                f"{voter}@127.0.0.1:{at}" for voter, at in voters.items()
            ),
            "log.dirs": data,
        }
    )
    return "".join(f"{name}={value}\n" for name, value in settings.items())
