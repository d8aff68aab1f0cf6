"""What the embedded broker promises: its data, its ports, its folder, and no Java left behind."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from aiokafka.admin import NewTopic

from schemas.topics import MAX_MESSAGE_BYTES
from streams import broker_folder
from streams import cluster as clients
from streams.broker import BrokerError, EmbeddedBroker, running
from streams.jars import class_path
from streams.settings import Settings

PARENT = """
import asyncio, sys, time
from pathlib import Path
from streams.broker import EmbeddedBroker
broker = EmbeddedBroker(Path(sys.argv[1]))
asyncio.run(broker.start())
print(broker.pid, broker.bootstrap, flush=True)
time.sleep(600)
"""


def settings_of(broker: EmbeddedBroker) -> Settings:
    return Settings(bootstrap=broker.bootstrap)


async def create(settings: Settings, topic: str) -> None:
    client = clients.admin(settings)
    await client.start()
    try:
        answer = await client.create_topics([NewTopic(topic, 1, 1)])
        assert [code for _, code, _ in answer.topic_errors] == [0]
    finally:
        await client.close()


async def topics(settings: Settings) -> set[str]:
    client = clients.admin(settings)
    await client.start()
    try:
        return set(await client.list_topics())
    finally:
        await client.close()


async def write(settings: Settings, topic: str, *bodies: bytes) -> None:
    producer = clients.producer(settings)
    await producer.start()
    try:
        for body in bodies:
            await producer.send_and_wait(topic, body)
    finally:
        await producer.stop()


async def read(settings: Settings, topic: str, count: int) -> list[bytes]:
    consumer = clients.consumer(settings, topic, auto_offset_reset="earliest")
    await consumer.start()
    try:
        async with asyncio.timeout(20):
            return [(await consumer.getone()).value for _ in range(count)]
    finally:
        await consumer.stop()


def until_dead(broker: EmbeddedBroker) -> None:
    deadline = time.monotonic() + 10
    while broker.alive:
        assert time.monotonic() < deadline
        time.sleep(0.02)


async def gone(pid: int, within_s: float = 20.0) -> bool:
    deadline = time.monotonic() + within_s
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(0.05)
    return True


async def test_records_are_kept_between_runs_and_dropped_when_fresh_is_asked(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "a folder, with ü and a comma"
    said: list[str] = []
    first = EmbeddedBroker(folder, say=said.append)
    await first.start()
    await create(settings_of(first), "kept")
    await write(settings_of(first), "kept", b"one", b"two")
    pid, address = first.pid, first.bootstrap
    assert said[0] == "formatting the broker's folder"
    assert said[-1] == "starting the broker"
    await first.stop()
    assert not psutil.pid_exists(pid)
    assert running(folder) is None

    async with EmbeddedBroker(folder) as second:
        assert second.bootstrap == address
        assert await read(settings_of(second), "kept", 2) == [b"one", b"two"]

    async with EmbeddedBroker(folder, fresh=True) as third:
        assert await topics(settings_of(third)) == set()


async def test_records_survive_the_kill_of_java_and_the_same_object_starts_it_again(
    tmp_path: Path,
) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    async with EmbeddedBroker(tmp_path / "broker", fresh=True, port=port) as broker:
        assert broker.bootstrap == f"127.0.0.1:{port}"
        await create(settings_of(broker), "kept")
        await write(settings_of(broker), "kept", b"one", b"two")
        os.kill(broker.pid, signal.SIGKILL)
        assert await gone(broker.pid)
        await asyncio.to_thread(until_dead, broker)
        await broker.start()
        assert broker.bootstrap == f"127.0.0.1:{port}"
        assert await read(settings_of(broker), "kept", 2) == [b"one", b"two"]


def test_a_killed_parent_leaves_no_java_and_a_folder_that_starts_again(tmp_path: Path) -> None:
    folder = tmp_path / "broker"
    parent = subprocess.Popen(  # noqa: S603
        [sys.executable, "-c", PARENT, str(folder)], stdout=subprocess.PIPE, cwd=tmp_path
    )
    assert parent.stdout is not None
    pid, address = parent.stdout.readline().split()
    parent.kill()
    parent.wait()
    # At once: the dying Java still holds the folder.
    broker = EmbeddedBroker(folder)
    asyncio.run(broker.start())
    assert not psutil.pid_exists(int(pid))
    assert broker.bootstrap == address.decode()
    # And in another loop than the one that started it.
    asyncio.run(broker.stop())
    assert not psutil.pid_exists(broker.pid)


async def test_a_second_start_says_who_holds_the_folder(broker: EmbeddedBroker) -> None:
    with pytest.raises(BrokerError, match=f"already running: process {os.getpid()} holds it") as e:
        await EmbeddedBroker(broker.folder).start()
    assert broker.bootstrap in str(e.value)
    assert broker.alive
    holder = running(broker.folder)
    assert holder is not None
    assert (holder.pid, holder.bootstrap, holder.java) == (
        os.getpid(),
        broker.bootstrap,
        broker.pid,
    )


async def test_only_loopback_is_listened_on(broker: EmbeddedBroker) -> None:
    listening = [
        entry.laddr.ip.removeprefix("::ffff:")
        for entry in psutil.Process(broker.pid).net_connections("tcp")
        if entry.status == psutil.CONN_LISTEN
    ]
    assert set(listening) == {"127.0.0.1"}
    assert len(listening) == 2


async def test_the_largest_message_of_the_catalogue_fits(broker: EmbeddedBroker) -> None:
    body = os.urandom(MAX_MESSAGE_BYTES - 1024)
    await create(settings_of(broker), "large")
    await write(settings_of(broker), "large", body)
    assert await read(settings_of(broker), "large", 1) == [body]


async def test_a_topic_that_was_not_made_is_an_error_and_not_a_new_topic(
    broker: EmbeddedBroker,
) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1.0):
            await write(settings_of(broker), "mistyped", b"lost?")
    assert "mistyped" not in await topics(settings_of(broker))


async def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(BrokerError, match=f"Port {port} of 127.0.0.1 is taken"):
            await EmbeddedBroker(tmp_path / "broker", port=port).start()
    assert running(tmp_path / "broker") is None


async def test_a_folder_of_other_files_is_left_alone(tmp_path: Path) -> None:
    thesis = tmp_path / "thesis.txt"
    thesis.write_text("three years of work")
    with pytest.raises(BrokerError, match="not a broker's folder"):
        await EmbeddedBroker(tmp_path, fresh=True).start()
    assert thesis.read_text() == "three years of work"
    assert not (tmp_path / "lock").exists()


async def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BrokerError, match="cannot be used: Not a directory"):
        await EmbeddedBroker(tmp_path / "file" / "broker").start()


async def test_a_full_disk_is_named_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broker_folder, "LEAST_FREE_BYTES", 1 << 62)
    with pytest.raises(BrokerError, match=r"disk .* is full: [0-9]+ MiB are free"):
        await EmbeddedBroker(tmp_path / "broker").start()
    assert not (tmp_path / "broker" / "data").exists()


async def test_a_java_that_dies_while_starting_shows_the_end_of_its_log(tmp_path: Path) -> None:
    broker_folder.BrokerFolder(tmp_path).remember(broker_folder.Identity())
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "meta.properties").write_text("version=1\ncluster.id=another\nnode.id=9")
    with pytest.raises(BrokerError, match=r"(?s)ended while it started.*node"):
        await EmbeddedBroker(tmp_path).start()
    assert running(tmp_path) is None


async def test_a_spoilt_marker_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "broker.json").write_text("{")
    with pytest.raises(BrokerError, match="--fresh"):
        await EmbeddedBroker(tmp_path).start()


def test_a_first_start_without_a_network_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JGO_CACHE_DIR", str(tmp_path / "jgo"))
    # A port that nobody listens on.
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{broker_folder.free_port()}")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    said: list[str] = []
    with pytest.raises(BrokerError, match="Connect to the internet"):
        class_path(said.append)
    assert said == ["fetching Apache Kafka 4.2.2 (44 MB, once)"]
    assert not list((tmp_path / "jgo").rglob("*.jar"))


def test_a_later_start_needs_no_network_and_no_time(
    broker: EmbeddedBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert broker.alive  # so the jars are here
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{broker_folder.free_port()}")
    said: list[str] = []
    jars = class_path(said.append).split(os.pathsep)
    assert not said
    assert all(Path(jar).is_file() for jar in jars)
