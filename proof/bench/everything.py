"""`headrace bench all`: every benchmark in one order, each figure saved as JSON on its own.

One that fails does not stop the others: what it said stands in `NAME.error.txt`, and the
table made from the folder says that it is missing.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import tempfile
import time
import traceback
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from proof.bench import (
    agents,
    cache,
    ceiling,
    kernel,
    latency,
    scale,
    scheduler,
    soak,
    texts,
    transactions,
)
from proof.bench.main import main as main_job
from proof.bench.stand import Say, starter_model

REPEATS: Final = 0.2
"""Of the made-up feed that the whole product is given: some retweets, as feeds have them."""

Figures = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Wanted:
    """How much of everything; `size` scales the counts of texts and the seconds of a case."""

    model: Path | None = None
    feed: Path | None = None
    size: float = 1.0
    soak_minutes: float = 8.0

    def count(self, full: int) -> int:
        """So many texts of what a full run takes."""
        return max(50, int(full * self.size))


def steps(wanted: Wanted, model: Path, say: Say) -> dict[str, Callable[[Path], Awaitable[Figures]]]:
    """The benchmarks by name, in order; each is given an empty folder."""
    count, feed = wanted.count, wanted.feed
    plan = latency.Plan(
        feed=feed,
        seconds=max(3.0, 25.0 * wanted.size),
        burst=count(3_000),
        backlog=count(50_000),
    )

    async def ceilings(_: Path) -> Figures:
        asked = texts.questions(feed, count(2_000))
        pairs = [(one.text, one.target) for one in asked]
        return await asyncio.to_thread(ceiling.main, model, pairs, rounds=1)

    async def simulated(_: Path) -> Figures:
        return await asyncio.to_thread(scheduler.main)

    async def whole(folder: Path) -> Figures:
        if feed is not None:
            return await main_job(feed, count(6_000), folder, say)
        made_up = folder / "feed.csv"
        await asyncio.to_thread(texts.write_feed, made_up, count(6_000), repeats=REPEATS)
        return await main_job(made_up, None, folder / "run", say)

    return {
        "ceiling": ceilings,
        "kernel-fp32": lambda folder: kernel.main(
            model, folder, say, feed=feed, limit=count(3_000), precision="fp32"
        ),
        "kernel-int8": lambda folder: kernel.main(
            model, folder, say, feed=feed, limit=count(4_000), precision="int8"
        ),
        "transactions": lambda folder: transactions.main(
            model, folder, say, feed=feed, limit=count(4_000), light_limit=count(20_000)
        ),
        "latency": lambda folder: latency.main(model, folder, say, plan),
        "main": whole,
        "agents": lambda folder: agents.main(folder, say, limit=count(40_000)),
        "cache": lambda folder: cache.main(
            model, folder, say, feed=feed, limit=count(2_500), rounds=2
        ),
        "scale": lambda folder: scale.main(
            model, folder, say, feed=feed, limit=count(3_000), seconds=plan.seconds
        ),
        "scheduler": simulated,
        "soak": lambda folder: soak.main(
            model, folder, say, feed=feed, minutes=wanted.soak_minutes, burst=count(3_000)
        ),
    }


async def run_all(out: Path, wanted: Wanted, say: Say, only: tuple[str, ...] = ()) -> Figures:
    """Run all, or `only` those; save each as `out / NAME.json`.

    Returns:
        `done`, `failed`, and `seconds` by name.

    Raises:
        ValueError: `only` names one that there is not.
    """
    model = wanted.model
    if model is None:
        model = await asyncio.to_thread(starter_model, out, say)
    runs = steps(wanted, model, say)
    if unknown := set(only) - set(runs):
        raise ValueError(f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(runs)}")
    seconds: dict[str, float] = {}
    failed: list[str] = []
    for name in only or runs:
        began = time.monotonic()
        say(f"== {name}")
        with scratch() as folder:
            try:
                save(out, name, await runs[name](folder))
            except Exception as error:  # noqa: BLE001  (the others are still wanted)
                failed.append(name)
                complain(out, name, error)
                say(f"{name} failed: {error!r}; more in {out / name}.error.txt")
        seconds[name] = round(time.monotonic() - began, 1)
        say(f"== {name}: {seconds[name]:.0f} s")
    done = [name for name in seconds if name not in failed]
    return {"done": done, "failed": failed, "seconds": seconds}


def save(out: Path, name: str, figures: Figures) -> Path:
    """Write figures as `out / NAME.json`."""
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"{name}.json"
    path.write_text(json.dumps(figures, indent=1) + "\n")
    (out / f"{name}.error.txt").unlink(missing_ok=True)
    return path


def complain(out: Path, name: str, error: Exception) -> None:
    """Write what went wrong as `out / NAME.error.txt`."""
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{name}.error.txt").write_text("".join(traceback.format_exception(error)))


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """An empty folder, gone with the block."""
    with tempfile.TemporaryDirectory(
        prefix="headrace-bench-", ignore_cleanup_errors=True
    ) as folder:
        yield Path(folder).absolute()
