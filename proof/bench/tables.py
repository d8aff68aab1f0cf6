"""Saved figures as Markdown tables, one function for each benchmark."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from proof.bench import capacity, transactions
from proof.bench.markdown import Figures, Saved, ratio, table
from proof.bench.people_tables import consoles, loops, soaking


def facts(saved: Saved) -> str:
    """The machine, as each run found it."""
    machines = [one["machine"] for one in saved.values() if "machine" in one]
    if not machines:
        return "No run is saved.\n"
    found, loads = machines[0], [one["load_1min"] for one in machines]
    return (
        f"Machine: {found['cores']} cores of {found['processor']}, {found['memory_gib']} GiB, "
        f"{found['system']}, Python {found['python']}, no GPU. Load average when the runs ended: "
        f"{min(loads)} to {max(loads)}.\n"
    )


def ceilings(saved: Saved) -> str:
    """The offline ceilings."""
    return table(
        ("precision", "batches of 32", "texts/s"),
        ((one["precision"], one["order"], one["per_s"]) for one in saved["ceiling"]["ceilings"]),
    )


def kernels(saved: Saved) -> str:
    """The kernel against its ceiling, by precision."""
    runs = [saved[name] for name in ("kernel-fp32", "kernel-int8") if name in saved]
    rows: list[tuple[str, Callable[[Figures], Any]]] = [
        ("texts in a round; mean tokens", lambda x: f"{x['texts']:,}; {x['mean_tokens']}"),
        ("offline ceiling, texts/s", lambda x: x["ceiling_per_s"]),
        ("kernel, texts/s", lambda x: x["kernel_per_s"]),
        ("**ratio**, median (bound: 0.90)", lambda x: f"**{x['ratio']}**"),
        ("ratio of each round", lambda x: ", ".join(map(str, x["ratios"]))),
        (
            "kernel, from the opening of its first lane",
            lambda x: f"{x['from_open_per_s']} ({ratio(x['from_open_per_s'], x['ceiling_per_s'])})",
        ),
        (
            "ceiling with a pass on each core",
            lambda x: (
                f"{x['ceiling_side_by_side_per_s']} "
                f"(kernel: {ratio(x['kernel_per_s'], x['ceiling_side_by_side_per_s'])})"
            ),
        ),
        ("padding waste; batches", lambda x: f"{x['padding_waste']}; {x['batches']}"),
        ("transaction p50; p99, ms", lambda x: f"{x['commit_ms']['p50']}; {x['commit_ms']['p99']}"),
        ("cores used while it answers: kernel; broker", _cores),
        ("share of that time in forward passes, of all cores", _forward),
        ("kernel resident, MB", lambda x: x["rss_mb"]),
        (
            "lost; doubled; out of order",
            lambda x: f"{x['lost']}; {x['duplicates']}; {x['out_of_order']}",
        ),
    ]
    return table(
        ("", *(one["precision"] for one in runs)),
        ((name, *(say(one) for one in runs)) for name, say in rows),
    )


def _cores(x: Figures) -> str:
    runs = [one["kernel"] for one in x["rounds"]]
    seconds = sum(one["watched_s"] for one in runs)
    used = (sum(one[name] for one in runs) for name in ("cpu_s", "broker_cpu_s"))
    return "; ".join(str(ratio(one, seconds)) for one in used)


def _forward(x: Figures) -> str:
    runs = [one["kernel"] for one in x["rounds"]]
    passes = sum(one["counters"]["forward_s"] for one in runs)
    return f"{ratio(passes, x['machine']['cores'] * sum(one['seconds'] for one in runs)):.0%}"


def exactly_once(saved: Saved) -> str:
    """What transactions cost."""
    return table(
        ("model", "without, texts/s", "with, texts/s", "ratio", "ratio of each round"),
        (
            (
                about,
                one["without_per_s"],
                one["with_per_s"],
                f"**{one['ratio']}** (bound: {transactions.BOUND})" if bound else one["ratio"],
                ", ".join(map(str, one["ratios"])),
            )
            for about, key, bound in (
                ("starter model", "with_model", True),
                ("a model of no cost: the lanes alone", "model_of_no_cost", False),
            )
            for one in [saved["transactions"][key]]
        ),
    )


def latencies(saved: Saved) -> str:
    """Percentiles of every case."""
    found = saved["latency"]
    hot, backlog = found["hot_key"], found["backlog"]
    rows = [
        ("60 events/s, agents included", "p50 35, p99 100", found["at_60_per_s"]),
        ("60 requests/s, kernel alone", "", found["kernel_at_60_per_s"]),
        ("50 % of what is kept up with", "p50 60, p99 200", found["at_50_percent"]),
        ("80 % of what is kept up with", "p99 400", found["at_80_percent"]),
        ("50 % of a burst's rate", "", found["at_half_a_burst"]),
        ("the other keys without a hot one", "", hot["others_alone"]),
        (
            "the same beside one key with 90 %",
            f"p99 {2 * hot['others_alone']['p99']:.0f}",
            hot["others"],
        ),
        ("that key", "", hot["hot"]),
        ("interactive alone", "", backlog["alone"]),
        (
            f"interactive behind {backlog['requests']:,} bulk",
            f"p99 {backlog['p99_bound_ms']:.0f}",
            backlog["behind"],
        ),
    ]
    return (
        table(
            ("case", "offered/s", "p50 ms", "p90", "p99", "p99.9", "bound", "unanswered"),
            (
                (
                    name,
                    one["offered_per_s"],
                    one["p50"],
                    one["p90"],
                    one["p99"],
                    one["p99_9"],
                    bound,
                    one["unanswered"],
                )
                for name, bound, one in rows
            ),
        )
        + f"\nFeed to results, kept up with: {found['sustained_per_s']} events/s; a burst: "
        f"{found['capacity_per_s']}. Commit interval: {found['commit_interval_ms']} ms. Bulk had "
        f"{backlog['bulk_share_of_capacity']:.0%} of a burst's rate meanwhile (bound: 10 %). "
        f"Cases of {found['seconds_of_a_case']:g} s.\n"
    )


def commit_intervals(saved: Saved) -> str:
    """The trade between latency and throughput."""
    return table(
        ("commit interval, ms", "throughput, texts/s", "p50 ms at 60/s", "p99 ms at 60/s"),
        (
            (one["commit_interval_ms"], one["per_s"], one["p50"], one["p99"])
            for one in saved["latency"]["commit_intervals"]
        ),
    )


def main_job(saved: Saved) -> str:
    """The whole product over a feed."""
    x = saved["main"]
    return table(
        ("", ""),
        (
            ("events; questions", f"{x['events']:,}; {x['requests']:,}"),
            (
                "lost; doubled; out of order",
                f"{x['lost']}; {x['duplicates']}; {x['out_of_order']}",
            ),
            ("answered per second", x["per_s"]),
            ("offline ceiling, texts/s", x["ceiling_per_s"]),
            ("**ratio** (bound: 0.80)", f"**{x['ratio']}**"),
            ("of the answers, cached or shared", x["cached"]),
            ("precision", x["precision"]),
            ("first verdict from an empty folder, s", x["first_verdict_s"]),
            ("second start to first verdict, s", x["second_start_s"]),
        ),
    )


def agents(saved: Saved) -> str:
    """What one process of each agent does."""
    return table(
        ("agent", "events/s", "events/s per core of CPU time", "bound", "cores", "resident, MB"),
        (
            (
                f"`{name}`",
                one["per_s"],
                one["per_core_s"],
                f"{one['bound']:,}",
                one["cores"],
                one["rss_mb"],
            )
            for name, one in saved["agents"]["agents"].items()
        ),
    )


def caching(saved: Saved) -> str:
    """What the result cache brings."""
    found = saved["cache"]
    memory = found["memory"]
    return (
        table(
            ("repeats", "off", "on", "on / off", "against no repeats", "hits", "other label"),
            (
                (
                    f"{one['repeats']:.0%}",
                    one["off_per_s"],
                    one["on_per_s"],
                    one["ratio"],
                    one["gain"],
                    one["cache_hits"],
                    f"{one['other_label']} of {found['texts']}",
                )
                for one in found["shares"]
            ),
        )
        + f"\nLargest difference of a score between on and off: "
        f"{max(one['largest_difference_of_a_score'] for one in found['shares']):g}.\n"
        + f"\nMemory: a cache of {memory['cache_mb']} MB over {memory['different_texts']:,} "
        f"different texts; resident {memory['rss_mb']} MB after each third.\n"
    )


def scaling(saved: Saved) -> str:
    """Kernels from 1 to N."""
    rows = saved["scale"]["kernels"]
    return table(
        ("kernels of one core each", "texts/s", "against one", "answered by each", "lost; doubled"),
        (
            (
                one["kernels"],
                one["per_s"],
                ratio(one["per_s"], rows[0]["per_s"]),
                ", ".join(map(str, one["answered_by_each"])),
                f"{one['lost']}; {one['duplicates']}",
            )
            for one in rows
        ),
    )


def prediction(saved: Saved) -> str:
    """The simulation against what was measured."""
    found = saved["scale"]["simulation"]
    measured, predicted = found["measured"], found["predicted"]
    names = (("capacity_per_s", "capacity, texts/s"), ("p50", "p50 ms"), ("p90", "p90 ms"))
    return table(
        ("", "measured", "predicted", "predicted / measured"),
        (
            (about, measured[name], predicted[name], ratio(predicted[name], measured[name]))
            for name, about in (*names, ("p99", "p99 ms"))
        ),
    )


def hops(saved: Saved) -> capacity.Hops:
    """Costs of a hop from the saved runs."""
    trends = saved["agents"]["agents"]["finance.trends"]
    reader = saved["agents"]["agents"]["finance.reader"]
    light = saved["transactions"]["model_of_no_cost"]
    runs = [one["with"] for one in light["rounds"]]
    plain = [one["without"] for one in light["rounds"]]
    texts = light["texts"] * len(runs)
    kernel_us = sum(one["cpu_s"] for one in runs) / texts * 1e6
    commits = sum(one["counters"]["commits"] for one in runs)
    # A record is read and one is written for each text, with and without transactions.
    broker_us = sum(one["broker_cpu_s"] for one in plain) / texts / 2 * 1e6
    more_s = sum(one["broker_cpu_s"] for one in runs) - sum(one["broker_cpu_s"] for one in plain)
    costs = saved["scale"]["simulation"]["costs"]
    return capacity.Hops(
        reader_us=round(1e6 / reader["per_core_s"], 1),
        kernel_us=round(kernel_us, 1),
        model_us=round(1000 * costs["token_ms"] * saved["kernel-int8"]["mean_tokens"], 1),
        trends_us=round(1e6 / trends["per_core_s"], 1),
        relay_us=round(kernel_us / 2, 1),  # a lane that scores nothing; half is an estimate
        broker_us=round(broker_us, 1),
        commit_us=round(max(0.0, more_s) / max(1, commits) * 1e6, 1),
    )


def costs(saved: Saved) -> str:
    """What a hop costs, in CPU time."""
    about = {
        "reader_us": "`finance.reader`, an event",
        "kernel_us": "kernel without its model, a question",
        "model_us": "int8 forward pass on one core, a question",
        "trends_us": "`finance.trends`, a result",
        "relay_us": "relay, a message (estimated: half of the kernel's)",
        "broker_us": "broker, a record written and read",
        "commit_us": "broker, a transaction, beyond its records",
    }
    found = capacity.table(hops(saved))["hops_us"]
    return table(("hop", "µs"), ((words, found[name]) for name, words in about.items()))


def plans(saved: Saved) -> str:
    """What each rate takes."""
    found = capacity.table(hops(saved))["plans"]
    names = {
        "partitions": "partitions of each topic",
        "readers": "`finance.reader` processes",
        "kernels": "kernel processes",
        "trends": "`finance.trends` processes",
        "relays": "relay processes",
        "brokers": "brokers of 16 cores",
        "broker_cores": "broker cores in use",
        "transactions_per_s": "transactions/s",
        "broker_in_mb_per_s": "MB/s written, replicas included",
        "gpus": "GPUs (assumed 15,000 results/s each; unmeasured)",
        "model_cores_without_gpu": "or cores for the model, int8",
    }
    return table(
        ("events/s", *(f"{one['events_per_s']:,}" for one in found)),
        ((words, *(f"{one[name]:,}" for one in found)) for name, words in names.items()),
    )


def peers(saved: Saved) -> str:
    """Other ways to put the model behind Kafka, each beside the kernel in the same rounds."""
    found = saved["peers"]
    rows = table(
        (
            "set-up",
            "precision",
            "texts/s",
            "kernel beside it",
            "**kernel / it**",
            "guarantee",
            "lost; doubled; out of order",
            "p50; p99 ms at 60/s",
            "same label",
            "resident, MB",
        ),
        (
            (
                one["about"],
                one["precision"],
                one["per_s"],
                one["headrace_per_s"],
                f"**{one['ratio']}**",
                one["guarantee"],
                f"{one['lost']}; {one['duplicates']}; {one['out_of_order']}",
                _p50_p99(one["latency_ms"]),
                f"{one['same_label']:.1%}",
                one["rss_mb"],
            )
            for one in found["peers"]
        ),
    )
    beside = [one["headrace"]["latency_ms"] for one in found["peers"]]
    return (
        rows
        + f"\n{found['texts']:,} texts in a round, {found['rounds_each']} rounds each. The kernel "
        "is exactly once in all of them; its p50; p99 at 60/s beside each: "
        + (", ".join(_p50_p99(one) for one in beside if one) or "unmeasured")
        + ".\n"
        + "".join(f"\nUnmeasured: {name}.\n" for name in found["failed"])
    )


def _p50_p99(latency: Figures | None) -> str:
    return f"{latency['p50']:g}; {latency['p99']:g}" if latency else "unmeasured"


TABLES: Final[dict[str, tuple[tuple[str, ...], Callable[[Saved], str]]]] = {
    "machine": ((), facts),
    "ceiling": (("ceiling",), ceilings),
    "kernel": (("kernel-int8",), kernels),
    "transactions": (("transactions",), exactly_once),
    "latency": (("latency",), latencies),
    "commit-intervals": (("latency",), commit_intervals),
    "main": (("main",), main_job),
    "agents": (("agents",), agents),
    "cache": (("cache",), caching),
    "scale": (("scale",), scaling),
    "prediction": (("scale",), prediction),
    "costs": (("scale", "agents", "transactions", "kernel-int8"), costs),
    "plans": (("scale", "agents", "transactions", "kernel-int8"), plans),
    "soak": (("soak",), soaking),
    "peers": (("peers",), peers),
    "loop": (("loop",), loops),
    "console": (("console",), consoles),
}
"""By the marker's name: the figures that it needs, and what makes the text."""
