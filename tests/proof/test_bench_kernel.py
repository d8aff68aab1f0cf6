"""The benchmark of the kernel over a real broker, with a model of no cost."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from proof.bench import kernel, plain_kernel, texts
from proof.bench.stand import stand, tiny
from proof.bench.transactions import skip

NAMED_IN_THE_DOCS = (
    "texts precision ceiling_per_s kernel_per_s ratio padding_waste batches cache_hits "
    "commit_ms rss_mb lost duplicates out_of_order"
)


def silent(_: str) -> None:
    pass


async def test_the_kernel_is_held_to_its_ceiling_and_to_the_law(tmp_path: Path) -> None:
    found = await kernel.main(tiny(tmp_path), tmp_path / "stand", silent, limit=200, rounds=1)
    assert set(NAMED_IN_THE_DOCS.split()) <= set(found)
    assert (found["lost"], found["duplicates"], found["out_of_order"]) == (0, 0, 0)
    assert found["precision"] == "fp32"
    assert found["batches"] > 0
    assert found["ceiling_per_s"] > 0
    assert set(found["commit_ms"]) == {"p50", "p99"}


async def test_the_kernel_without_transactions_answers_the_same_questions(tmp_path: Path) -> None:
    asked = texts.questions(None, 200)
    async with stand(tmp_path / "stand", silent) as where:
        await where.announce(tiny(tmp_path))
        await kernel.replay(where, "with", asked)
        await skip(where, plain_kernel.GROUP)
        found = await kernel.replay(where, "without", asked, module=plain_kernel.__name__)
    assert (found.lost, found.duplicates, found.out_of_order) == (0, 0, 0), asdict(found)
    assert found.counters["commits"] > 0
