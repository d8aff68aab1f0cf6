"""`headrace bench scheduler`: the kernel's scheduler against others, in simulated time.

What is measured is from a request's arrival on its topic to the end of the
transaction that commits its answer. The figures are the same on every machine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from kernel.scheduler import URGENCIES
from proof.bench import traces
from proof.bench.policies import OURS, POLICIES, Flight
from proof.bench.simulation import Costs, Run, Simulation
from proof.bench.traces import Arrival, merged, poisson

HOT: Final = "hot"
SECONDS: Final = 60.0
BACKLOG: Final = 50_000
WEIGHTS: Final = {"a": 3.0, "b": 2.0, "c": 1.0}
_EFFICIENCY: Final = 0.92
"""Of the ideal, for the padding that is left within a length bucket."""

Group = Callable[[Arrival], bool]


@dataclass(frozen=True)
class Scenario:
    """A trace, and whose latencies are of interest in it."""

    name: str
    about: str
    trace: Sequence[Arrival]
    groups: dict[str, Group]
    until: float = 2 * SECONDS
    policies: tuple[str, ...] = tuple(POLICIES)
    weights: dict[str, float] = field(default_factory=dict)


def main(costs: Costs | None = None, trace: Path | None = None) -> dict[str, Any]:
    """Play every scenario, or a recorded trace alone, under every policy.

    Returns:
        `costs`; `scenarios`: by name, and within it by policy, `latency_ms` (p50, p99
        and count by group; what is unfinished counts with its age at the end), `per_s`,
        `padding_waste`, `bulk_share`, `busy` and shares of tenants; and, for the
        synthetic scenarios, `promises`: the figure, the bound and whether it is kept.

    Raises:
        ValueError: the trace is not one.
    """
    costs = costs or Costs()
    scenarios = _recorded(trace) if trace else _synthetic(costs.per_s * _EFFICIENCY)
    found = {
        one.name: {
            "about": one.about,
            **{policy: _figures(one, policy, costs) for policy in one.policies},
        }
        for one in scenarios
    }
    if not trace:
        backlog = next(one for one in scenarios if one.name == "bulk backlog")
        ahead = _figures(backlog, OURS, replace(costs, ahead=1))
        found[backlog.name][f"{OURS}, a batch chosen ahead"] = ahead
    figures = {"costs": asdict(costs), "scenarios": found}
    return figures if trace else {**figures, "promises": _promises(found, costs)}


def rows(figures: dict[str, Any]) -> Iterator[tuple[Any, ...]]:
    """Scenario, policy, group, p50, p99, requests/s, padding waste and share of bulk."""
    for scenario, policies in figures["scenarios"].items():
        for policy, found in policies.items():
            if policy == "about":
                continue
            for group, latency in found["latency_ms"].items():
                yield (
                    scenario,
                    policy,
                    group,
                    latency["p50"],
                    latency["p99"],
                    found["per_s"],
                    found["padding_waste"],
                    found["bulk_share"],
                )


def _recorded(path: Path) -> list[Scenario]:
    trace = traces.load(path)
    until = (trace[-1].at if trace else 0.0) + SECONDS
    return [Scenario(path.name, "a recorded trace", trace, _classes(), until)]


def _synthetic(per_s: float) -> list[Scenario]:
    interactive = poisson(1, 60, SECONDS, "interactive")
    bursts = merged(
        *[poisson(20 + n, 1_000, 1, "standard", since=10.0 * n) for n in range(1, 6)],
        poisson(2, 0.1 * per_s, SECONDS, "standard"),
        poisson(1, 0.1 * per_s, SECONDS, "interactive"),
    )
    standing = merged(
        poisson(1, 0.5 * per_s, SECONDS, "interactive"),
        poisson(2, 0.7 * per_s, SECONDS, "standard"),
        traces.backlog(3, BACKLOG, "bulk"),
    )
    apart = merged(
        poisson(4, per_s, SECONDS, "standard", tenant="a", partitions=(0, 1)),
        poisson(5, per_s, SECONDS, "standard", tenant="b", partitions=(2,)),
        poisson(6, per_s, SECONDS, "standard", tenant="c", partitions=(3,)),
    )
    mixed = merged(
        *[
            poisson(4 + place, per_s, SECONDS, "standard", tenant=name)
            for place, name in enumerate(WEIGHTS)
        ]
    )
    steady = merged(
        poisson(1, 0.14 * per_s, SECONDS, "interactive"),
        poisson(2, 0.35 * per_s, SECONDS, "standard"),
        poisson(3, 0.21 * per_s, SECONDS, "bulk"),
    )
    tenants = {name: _tenant(name) for name in WEIGHTS}
    return [
        Scenario("steady", "70 % load, three classes", steady, _classes()),
        Scenario("burst", "1,000 standard requests every 10 s", bursts, _classes()),
        Scenario("unloaded", "60 interactive requests/s alone", interactive, _classes()),
        Scenario(
            "bulk backlog",
            "the same, behind 50,000 bulk requests",
            merged(interactive, traces.backlog(3, BACKLOG, "bulk")),
            _classes(),
            until=SECONDS,
        ),
        Scenario(
            "standing load",
            "interactive and standard at 120 % of capacity, and 50,000 bulk requests",
            standing,
            _classes(),
            until=SECONDS,
        ),
        *_hot_key("hot key", "70 % load", per_s, 0.07, 0.63),
        *_hot_key("hot key, overload", "150 % load", per_s, 0.15, 1.35),
        Scenario(
            "tenants apart",
            "three tenants with keys on partitions of their own, each with 100 % load",
            apart,
            tenants,
            until=SECONDS,
            weights=WEIGHTS,
        ),
        Scenario(
            "tenants mixed",
            "the same on partitions that they share: a partition's order is above weights",
            mixed,
            tenants,
            until=SECONDS,
            weights=WEIGHTS,
        ),
    ]


def _hot_key(name: str, load: str, per_s: float, others: float, hot: float) -> list[Scenario]:
    cold = poisson(7, others * per_s, SECONDS, "standard")
    burning = poisson(8, hot * per_s, SECONDS, "standard", thread=HOT)
    lane = burning[0].lane
    groups: dict[str, Group] = {
        "others": lambda one: one.thread != HOT,
        "others, other partitions": lambda one: one.thread != HOT and one.lane != lane,
        "others, its partition": lambda one: one.thread != HOT and one.lane == lane,
        HOT: lambda one: one.thread == HOT,
    }
    share = f"one key with 90 % of the traffic, {load}"
    return [
        Scenario(f"without {name}", "the other 10 % alone", cold, groups, policies=(OURS,)),
        Scenario(name, share, merged(cold, burning), groups, until=SECONDS),
    ]


def _figures(scenario: Scenario, policy: str, costs: Costs) -> dict[str, Any]:
    run = Simulation(scenario.trace, POLICIES[policy](scenario.weights), costs).run(scenario.until)
    committed = sum(flight.committed is not None for flight in run.flights)
    figures: dict[str, Any] = {
        "latency_ms": {
            name: _latency(run, [one for one in run.flights if group(one.arrival)])
            for name, group in scenario.groups.items()
            if any(group(one) for one in scenario.trace)
        },
        "per_s": round(committed / run.ended, 1),
        "padding_waste": round(1 - run.tokens / run.padded, 3),
        "bulk_share": round(run.padded_by["bulk"] / run.padded, 3),
        "busy": round(min(1.0, run.busy_s / run.ended / costs.passes), 3),
    }
    if scenario.weights:
        figures["tenants"] = {
            name: round(tokens / run.tokens, 3)
            for name, tokens in sorted(run.tokens_by_tenant.items())
        }
    return figures


def _latency(run: Run, flights: Iterable[Flight]) -> dict[str, float]:
    ages = sorted(
        (run.ended if one.committed is None else one.committed) - one.arrival.at
        for one in flights
        if one.arrival.at <= run.ended
    )
    return {
        "p50": _percentile(ages, 0.50),
        "p99": _percentile(ages, 0.99),
        "count": len(ages),
    }


def _percentile(ascending: Sequence[float], share: float) -> float:
    """In milliseconds, by nearest rank."""
    place = min(len(ascending) - 1, int(share * len(ascending)))
    return round(ascending[place] * 1000, 1) if ascending else 0.0


def _promises(found: dict[str, Any], costs: Costs) -> list[dict[str, Any]]:
    def p99(scenario: str, group: str) -> float:
        return float(found[scenario][OURS]["latency_ms"][group]["p99"])

    batch_ms = costs.seconds(costs.budget) * 1000
    return [
        _promise(
            "interactive p99 behind a bulk backlog: 1.5 x unloaded, and one batch",
            p99("bulk backlog", "interactive"),
            at_most=1.5 * p99("unloaded", "interactive") + batch_ms,
        ),
        _promise(
            "share of bulk under a standing load",
            found["standing load"][OURS]["bulk_share"],
            at_least=0.1,
        ),
        _promise(
            "p99 of other keys at 70 % load: 2 x that without the hot key",
            p99("hot key", "others"),
            at_most=2 * p99("without hot key", "others"),
        ),
        *[
            _promise(
                f"share of tenant {name}, of weight {weight:g} in {sum(WEIGHTS.values()):g}",
                found["tenants apart"][OURS]["tenants"][name],
                at_least=0.95 * weight / sum(WEIGHTS.values()),
            )
            for name, weight in WEIGHTS.items()
        ],
    ]


def _promise(
    about: str, figure: float, *, at_most: float | None = None, at_least: float | None = None
) -> dict[str, Any]:
    bound = at_most if at_most is not None else at_least
    assert bound is not None, "a promise has a bound"  # noqa: S101
    kept = figure <= bound if at_most is not None else figure >= bound
    return {"promise": about, "figure": figure, "bound": round(bound, 3), "kept": kept}


def _classes() -> dict[str, Group]:
    return {urgency: _urgency(urgency) for urgency in URGENCIES}


def _urgency(urgency: str) -> Group:
    return lambda one: one.urgency == urgency


def _tenant(tenant: str) -> Group:
    return lambda one: one.tenant == tenant
