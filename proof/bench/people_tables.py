"""Tables of what takes its time: the soak, the closed loop, and the console under load."""

from __future__ import annotations

from proof.bench.markdown import Figures, Saved, table


def soaking(saved: Saved) -> str:
    """What a long run showed."""
    x = saved["soak"]
    return table(
        ("", ""),
        (
            ("minutes; offered texts/s", f"{x['minutes']:g}; {x['offered_per_s']}"),
            ("sent; lost; doubled", f"{x['sent']:,}; {x['lost']}; {x['duplicates']}"),
            ("swaps of the model; answers from the cache", f"{x['swaps']}; {x['cache_hits']:,}"),
            (
                "kernel resident after warm-up; at the end, MB",
                f"{x['kernel_mb_after_warm_up']}; {x['kernel_mb_at_the_end']}",
            ),
            ("**memory growth** (bound: 2 %)", f"**{x['memory_growth']:.1%}**"),
            (
                "drift of p50; p99, second half against first",
                f"{x['p50_drift']:+.1%}; {x['p99_drift']:+.1%}",
            ),
            *_around(x["swap_delay"]),
        ),
    )


def loops(saved: Saved) -> str:
    """From corrections to a live version, and what did not become one."""
    x = saved["loop"]
    good, bad, false = x["corrected"], x["refused"], x["rolled_back"]
    anomalies = ", ".join(f"{count} {kind}" for kind, count in x["anomalies"].items())
    return table(
        ("", ""),
        (
            (
                "events/s all the time; events; answers",
                f"{x['rate']:g}; {x['events']:,}; {x['answers']:,}",
            ),
            ("**anomalies** that the checker found", f"**{anomalies or 'none'}**"),
            (
                f"{good['corrections']} corrections to the first new answer, s (bound: 300)",
                good["to_first_result_s"],
            ),
            ("the same, to all threads, s", good["to_live_s"]),
            (f"{bad['wrong']:,} wrong labels: refused after, s", bad["to_refusal_s"]),
            ("version that fails in the canary: refused after, s", false["canary_to_refusal_s"]),
            *(
                (f"accuracy {name}: new slang; others", _right(one))
                for name, one in x["accuracy"].items()
            ),
            *_around(x["swap_delay"]),
        ),
    )


def consoles(saved: Saved) -> str:
    """The console under load."""
    x = saved["console"]
    ready = [ms for both in x["page_ready_ms"].values() for ms in both]
    slowest = max(x["page_ready_ms"], key=lambda path: max(x["page_ready_ms"][path]))
    shown, load = x["shown_after_commit_ms"], x["load"]
    return table(
        ("", ""),
        (
            (
                "results on the topics; read into the index in, s",
                f"{x['results_before']:,}; {x['index_s']}",
            ),
            ("**slowest page ready**, ms (bound: 2,000)", f"**{max(ready):,.0f}** (`{slowest}`)"),
            ("pages ready, median, ms", sorted(ready)[len(ready) // 2]),
            (
                "commit to live page at 50/s, p50; **p95**; max, ms (bound: 1,000)",
                f"{shown['p50']}; **{shown['p95']}**; {shown['max']}",
            ),
            ("answers that were never drawn", f"{shown['never_drawn']} of {shown['sent']}"),
            (
                "events/s; records/s; open pages",
                f"{load['offered_per_s']}; {load['records_per_s']}; {load['pages']}",
            ),
            (
                "**of one core**, median; largest second (bound: 60 %)",
                f"**{load['cpu_of_a_core_p50']:.0%}**; {load['cpu_of_a_core_max']:.0%}",
            ),
            ("**resident**, most, MB (bound: 524)", f"**{load['rss_mb_max']:.0f}**"),
            (
                "records behind at the end; 5 s later",
                f"{load['behind_at_the_end']}; {load['behind_5_s_later']}",
            ),
            ("what the pages say meanwhile", "; ".join(load["the_page_says"]) or "nothing"),
        ),
    )


def _around(x: Figures) -> list[tuple[str, str]]:
    near, before = x["near_ms"], x["before_ms"]
    return [
        (
            "latency around swaps p50; p99; before them, ms",
            f"{near['p50']}; {near['p99']}; {before['p50']}; {before['p99']}",
        ),
        ("**what a swap adds at p99**, ms (bound: 250)", f"**{x['p99_more_ms']}**"),
    ]


def _right(one: Figures) -> str:
    return "; ".join(f"{one[kind]['accuracy']} of {one[kind]['n']}" for kind in ("slang", "others"))
