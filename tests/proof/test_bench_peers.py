"""Peers: scripts that stand for themselves, exact pins, and the same work on the same broker."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from proof.bench import peer_environments, peers, report
from proof.bench.peer_catalogue import NAMES, PEERS, SCRIPTS, chosen
from proof.bench.peer_environments import InstallError
from proof.bench.peers import Bench, Plan
from proof.bench.stand import Stand, tiny
from streams.broker import EmbeddedBroker
from streams.settings import Settings

OURS = re.compile(
    r"^\s*(?:from|import) (?:schemas|streams|kernel|trainer|agents|proof|web|console)\b",
    re.MULTILINE,
)
PIN = re.compile(r"^[a-z0-9._-]+==[^\s;]+( ; .+)?$")
BY_HAND = ("aiokafka-batches", "aiokafka-sorted")


def silent(_: str) -> None:
    pass


def test_scripts_import_nothing_of_ours() -> None:
    found = list(SCRIPTS.glob("*.py"))
    assert {f"{one.script}.py" for one in PEERS} <= {path.name for path in found}
    assert [path.name for path in found if OURS.search(path.read_text())] == []


@pytest.mark.parametrize("name", sorted({one.requirements for one in PEERS}))
def test_every_package_of_an_environment_is_pinned(name: str) -> None:
    lines = (SCRIPTS / "requirements" / f"{name}.txt").read_text().splitlines()
    assert [line for line in lines if not PIN.match(line)] == []


def test_a_peer_that_there_is_not_is_named_with_those_there_are() -> None:
    assert [one.name for one in chosen(("quix",))] == ["quix"]
    with pytest.raises(ValueError, match=r"no peer flink; there are faust-pipeline, .*"):
        chosen(("flink", NAMES[0]))


def test_an_environment_that_cannot_be_made_is_said_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pins = tmp_path / "requirements" / "odd.txt"
    pins.parent.mkdir()
    pins.write_text(f"{tmp_path}/no-such-package\n")
    monkeypatch.setattr(peer_environments, "SCRIPTS", tmp_path)
    for _ in range(2):
        with pytest.raises(InstallError, match=r"environment of odd cannot be installed; uv said"):
            peer_environments.python("odd", tmp_path / "peers", silent)


@pytest.mark.parametrize("name", BY_HAND)
async def test_a_peer_answers_every_text_once_and_in_order(
    name: str, broker: EmbeddedBroker, tmp_path: Path
) -> None:
    model = tiny(tmp_path)
    where = Stand(Settings(data=tmp_path, bootstrap=broker.bootstrap, partitions=2), broker)
    bench = Bench(where, model, tmp_path, Plan(limit=600, rounds=1), silent)
    command = chosen((name,))[0].command(Path(sys.executable), model, "fp32")
    found = await bench.run(name, command, "fp32", 0)
    assert (found.lost, found.duplicates, found.out_of_order) == (0, 0, 0)
    assert len(found.labels) == 600
    assert found.per_s > 0


async def test_a_peer_that_ends_is_told_with_its_log(
    broker: EmbeddedBroker, tmp_path: Path
) -> None:
    where = Stand(Settings(data=tmp_path, bootstrap=broker.bootstrap, partitions=1), broker)
    bench = Bench(where, tmp_path, tmp_path, Plan(limit=20, rounds=1), silent)
    command = [sys.executable, "-c", "raise SystemExit('no such model')"]
    with pytest.raises(peers.PeerError, match="no such model"):
        await bench.run("ends", command, "fp32", 0)


def test_the_page_says_guarantee_ratio_and_what_is_missing() -> None:
    latency = {"p50": 35.0, "p99": 90.5}
    row = {
        "about": "plain",
        "guarantee": "at least once",
        "precision": "fp32",
        "per_s": 150.0,
        "headrace_per_s": 300.0,
        "ratio": 2.0,
        "lost": 0,
        "duplicates": 0,
        "out_of_order": 0,
        "same_label": 0.998,
        "rss_mb": 300.0,
        "latency_ms": latency,
        "headrace": {"latency_ms": None},
    }
    saved = {"texts": 3_000, "rounds_each": 2, "peers": [row], "failed": {"quix, fp32": "why"}}
    page, missing = report.filled("<!-- bench: peers -->\n<!-- /bench -->\n", {"peers": saved})
    assert missing == []
    assert "| plain | fp32 | 150 | 300 | **2.0** | at least once | 0; 0; 0 | 35; 90.5 |" in page
    assert "Unmeasured: quix, fp32." in page
