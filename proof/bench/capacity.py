"""From what a hop costs to how much of everything a rate of events takes: pure arithmetic.

Costs are CPU time per event or record, as `headrace bench` measured them; what was not
measured is an assumption and called one. `docs/scale.md` is made from this.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Final

RATES: Final = (1_000, 100_000, 1_000_000)
"""Events a second."""
RECORDS_PER_QUESTION: Final = 4
"""Request, result, an agent's message in the outbox, and its copy by the relay."""


@dataclass(frozen=True, slots=True)
class Hops:
    """CPU time of each hop, in microseconds."""

    reader_us: float
    """`finance.reader`, of an event."""
    kernel_us: float
    """The kernel without its model, of a question."""
    model_us: float
    """A forward pass, of a question, on one core."""
    trends_us: float
    """`finance.trends`, of a result."""
    relay_us: float
    """The relay, of a message."""
    broker_us: float
    """The broker, of a record that is written once and read once."""
    commit_us: float = 0.0
    """The broker, of a lane's transaction."""


@dataclass(frozen=True, slots=True)
class Assumptions:
    """What a plan rests on besides the costs; none of it is measured here."""

    questions: float = 1.25
    """Companies that an event names."""
    utilisation: float = 0.6
    """Share of a core, or of a GPU, that is planned for: the rest is for bursts and rebalances."""
    gpu_per_s: float = 15_000.0
    """Results a second of one GPU."""
    broker_cores: int = 16
    replication: int = 3
    follower: float = 0.5
    """What a follower's copy costs, of what the leader's record does."""
    bytes_per_record: float = 700.0
    commit_interval_s: float = 0.1
    """Between two commits of a busy lane."""
    partitions_per_process: int = 2
    """So that one more process finds work, and a hot partition is half of one's."""


def plan(hops: Hops, per_s: float, given: Assumptions | None = None) -> dict[str, Any]:
    """What `per_s` events a second take, rounded up to whole processes, brokers and GPUs."""
    given = given or Assumptions()
    questions = per_s * given.questions
    room = 1e6 * given.utilisation

    def processes(rate: float, cost_us: float) -> int:
        return max(1, math.ceil(rate * cost_us / room))

    readers = processes(per_s, hops.reader_us)
    kernels = processes(questions, hops.kernel_us)
    trends = processes(questions, hops.trends_us)
    relays = processes(questions, hops.relay_us)
    partitions = max(4, given.partitions_per_process * max(readers, kernels, trends, relays))
    records = per_s + RECORDS_PER_QUESTION * questions
    commits = 2 * partitions / given.commit_interval_s  # lanes of the kernel, and of the relay
    replicas = 1 + given.follower * (given.replication - 1)
    broker_cores = (records * hops.broker_us * replicas + commits * hops.commit_us) / room
    brokers = max(given.replication, math.ceil(broker_cores / given.broker_cores))
    return {
        "events_per_s": per_s,
        "partitions": partitions,
        "readers": readers,
        "kernels": kernels,
        "trends": trends,
        "relays": relays,
        "broker_cores": math.ceil(broker_cores),
        "brokers": brokers,
        "broker_in_mb_per_s": round(records * given.bytes_per_record * given.replication / 1e6, 1),
        "transactions_per_s": round(commits),
        "gpus": math.ceil(questions / given.gpu_per_s / given.utilisation),
        "model_cores_without_gpu": math.ceil(questions * hops.model_us / room),
    }


def table(hops: Hops, given: Assumptions | None = None) -> dict[str, Any]:
    """Plans for all `RATES`, with what they were made from."""
    given = given or Assumptions()
    return {
        "hops_us": asdict(hops),
        "assumed": asdict(given),
        "plans": [plan(hops, rate, given) for rate in RATES],
    }


def mean_wait(arrivals_per_s: float, service_s: float) -> float:
    """Mean waiting time in a queue M/D/1 (Pollaczek-Khinchine), in seconds.

    Raises:
        ValueError: the server is given more than it can do.
    """
    load = arrivals_per_s * service_s
    if not 0 <= load < 1:
        raise ValueError(f"a load of {load:.2f} has no mean waiting time")
    return load * service_s / (2 * (1 - load))
