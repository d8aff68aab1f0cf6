"""The command line itself: fast help, options in any place, one clear line for each failure."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.support.command import environment, headrace

HEAVY = ("torch", "onnxruntime", "onnx", "transformers", "faust", "aiokafka", "pydantic")


def test_help_imports_nothing_heavy_and_answers_at_once() -> None:
    program = (
        "import sys, console.main\n"
        "code = console.main.run(['--help'])\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])\n"
    )
    done = subprocess.run(  # noqa: S603  (our own program)
        [sys.executable, "-c", program],
        env=environment(),
        capture_output=True,
        check=True,
        text=True,
    )
    assert done.stdout.splitlines()[-1] == "[]"
    for command in ("demo", "up", "publish", "watch", "read", "threads", "dead-letters", "ps"):
        assert command in done.stdout


def test_version_names_the_installed_release() -> None:
    shown = headrace("--version")
    assert (shown.code, shown.out) == (0, f"headrace {version('headrace')}\n")


def test_every_command_has_help_with_the_shared_options() -> None:
    for words in (["publish"], ["topics", "apply"], ["dead-letters", "replay"], ["lag"]):
        shown = headrace(*words, "--help")
        assert shown.code == 0
        for option in ("--data", "--bootstrap", "--json", "--debug"):
            assert option in shown.out


def test_an_address_without_a_cluster_is_one_clear_line_and_code_4(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    for words in (["--bootstrap", address, "lag"], ["lag", "--bootstrap", address]):
        failed = headrace(*words, "--data", str(tmp_path))
        assert (failed.code, failed.out) == (4, "")
        assert address in failed.err
        assert "--bootstrap or HEADRACE_BOOTSTRAP" in failed.err
        assert len(failed.err.splitlines()) == 1


def test_without_any_cluster_the_user_is_told_both_ways_to_have_one(tmp_path: Path) -> None:
    failed = headrace("read", "feed.events", "--data", str(tmp_path))
    assert failed.code == 4
    assert "headrace up" in failed.err
    assert "--bootstrap" in failed.err
    assert headrace("ps", "--data", str(tmp_path)).code == 6
    assert headrace("ps", "--data", str(tmp_path), "--json").lines() == []


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["frobnicate"], "No such command"),
        (["publish"], "Missing argument"),
        (["read", "x", "--limit", "0"], "--limit"),
        (["watch", "weather"], "weather"),
        (["serve", "agent", "--bootstrap", "127.0.0.1:1"], "finance.reader"),
    ],
)
def test_wrong_usage_is_code_2_and_names_what_is_wrong(words: list[str], says: str) -> None:
    failed = headrace(*words)
    assert failed.code == 2
    assert says in failed.err
    assert "Traceback" not in failed.err


def test_a_wrong_setting_is_named_and_code_2(tmp_path: Path) -> None:
    (tmp_path / "headrace.toml").write_text("partitions = 0\n")
    done = subprocess.run(
        [sys.executable, "-m", "console.main", "lag"],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "setting partitions: input should be greater than or equal to 1" in done.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_code_3(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    failed = headrace("up", "--data", str(tmp_path / "data"))
    assert failed.code == 3
    assert "choose another folder with --data" in failed.err


def test_a_data_folder_that_is_a_file_is_code_3(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    failed = headrace("up", "--data", str(tmp_path / "data"))
    assert failed.code == 3
    assert "data" in failed.err
    assert "Traceback" not in failed.err


def test_doctor_says_of_each_thing_whether_it_is_well(tmp_path: Path) -> None:
    found = headrace("doctor", "--data", str(tmp_path), "--json")
    checks = {one["name"]: one for one in found.lines()}
    assert checks["python"]["state"] == "ok"
    assert checks["cluster"]["state"] == "warn"
    assert "headrace up" in checks["cluster"]["advice"]
    assert {"java", "broker jars", "ports", "disk", "memory", "compute", "backbone"} <= set(checks)
    refused = headrace("doctor", "--data", str(tmp_path), "--bootstrap", "127.0.0.1:1")
    assert refused.code == 9
    assert "fail  cluster" in refused.out
