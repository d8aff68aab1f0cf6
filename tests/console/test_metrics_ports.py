"""A service finds the port for its metrics free, however late it asks for it."""

from __future__ import annotations

import socket
import urllib.request
from itertools import islice
from pathlib import Path

import pytest

from console.stack import metrics_ports
from streams.exposition import exposed
from streams.settings import Settings


def _answers(settings: Settings) -> bool:
    with exposed(settings, "kernel"):
        address = f"http://{settings.metrics_host}:{settings.metrics_port}/metrics"
        with urllib.request.urlopen(address, timeout=5) as answer:
            return bool(answer.status == 200)


def test_two_that_start_at_once_get_ports_of_their_own() -> None:
    with metrics_ports(0) as first, metrics_ports(0) as second:
        assert not set(islice(first, 8)) & set(islice(second, 8))


def test_a_port_given_to_a_service_is_its_own_before_it_listens_and_while_it_starts_again(
    tmp_path: Path,
) -> None:
    with metrics_ports(0) as ports:
        given = Settings(data=tmp_path, metrics_host="127.0.0.1", metrics_port=next(ports))
        for _ in range(2):
            with socket.socket() as stranger, pytest.raises(OSError, match="in use"):
                stranger.bind((given.metrics_host, given.metrics_port))
            assert _answers(given)


def test_ports_are_free_again_when_their_owner_ends() -> None:
    with metrics_ports(0) as ports:
        port = next(ports)
    with socket.socket() as stranger:
        stranger.bind(("127.0.0.1", port))


def test_a_port_that_is_named_is_followed_by_the_next() -> None:
    with metrics_ports(9000) as ports:
        assert list(islice(ports, 3)) == [9000, 9001, 9002]
