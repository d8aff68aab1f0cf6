"""A cluster with TLS and passwords: every kind of client gets in, and nobody without."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
import trustme
from cryptography.hazmat.primitives import serialization

from streams.broker import EmbeddedBroker
from streams.broker_folder import free_port

pytestmark = pytest.mark.timeout(180)

PASSWORD = "not a real secret, with = and \\ signs"  # noqa: S105
LOGIN = "org.apache.kafka.common.security.plain.PlainLoginModule"


@pytest.fixture
def secured(tmp_path: Path) -> Iterator[dict[str, str]]:
    """The variables with which a client reaches a broker over SASL_SSL."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    server = authority.issue_cert("127.0.0.1")
    (tmp_path / "server.pem").write_bytes(_pkcs8(server))
    port = free_port()
    escaped = PASSWORD.replace("\\", "\\\\")
    jaas = f'{LOGIN} required username="x" password="x" user_headrace="{escaped}";'
    settings = {
        "listeners": f"SECURED://127.0.0.1:{port}",
        "listener.security.protocol.map": (
            "BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT,SECURED:SASL_SSL"
        ),
        "sasl.enabled.mechanisms": "PLAIN",
        "listener.name.secured.plain.sasl.jaas.config": jaas.replace("\\", "\\\\"),
        "listener.name.secured.ssl.keystore.type": "PEM",
        "listener.name.secured.ssl.keystore.location": str(tmp_path / "server.pem"),
    }
    broker = EmbeddedBroker(tmp_path / "broker", more=settings)
    asyncio.run(broker.start())
    try:
        yield {
            "HEADRACE_DATA": str(tmp_path / "data"),
            "HEADRACE_BOOTSTRAP": f"127.0.0.1:{port}",
            "HEADRACE_SECURITY_PROTOCOL": "SASL_SSL",
            "HEADRACE_SASL_USERNAME": "headrace",
            "HEADRACE_SASL_PASSWORD": PASSWORD,
            "HEADRACE_TLS_CA": str(tmp_path / "ca.pem"),
        }
    finally:
        asyncio.run(broker.stop())


def _pkcs8(server: trustme.LeafCert) -> bytes:
    """Key and certificates as Kafka reads them: it takes no other form of key."""
    key = serialization.load_pem_private_key(server.private_key_pem.bytes(), None)
    written = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return written + b"".join(blob.bytes() for blob in server.cert_chain_pems)


def headrace(variables: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(  # noqa: S603  (our own command)
        [sys.executable, "-m", "console.main", *arguments],
        env=os.environ | variables,
        capture_output=True,
        timeout=60,
        check=False,
    )


def test_services_and_commands_work_over_tls_with_a_password(
    secured: dict[str, str], tmp_path: Path
) -> None:
    assert headrace(secured, "topics", "apply").returncode == 0
    feed = tmp_path / "feed.csv"
    feed.write_text("id,text\n1,Aldermoor Bank up\n2,\n3,Driftwell Motors down\n")
    assert b"row 2" in headrace(secured, "publish", str(feed)).stderr
    services = [
        subprocess.Popen(  # noqa: S603  (our own command)
            [sys.executable, "-m", "console.main", "serve", *service],
            env=os.environ | secured,
        )
        for service in (("agent", "finance.reader"), ("relay",), ("kernel",))
    ]
    try:
        watch = ["read", "kernel.requests.standard", "--jsonl", "--limit", "2"]
        found = headrace(secured, *watch).stdout.splitlines()
        # Two keys, perhaps two partitions: between them there is no order.
        assert {orjson.loads(line)["key"] for line in found} == {"ALDR", "DRFT"}
        assert all(service.poll() is None for service in services)
    finally:
        for service in services:
            service.terminate()
    assert [service.wait(30) for service in services] == [0, 0, 0]


def test_a_wrong_password_is_an_error_that_says_so(secured: dict[str, str]) -> None:
    refused = headrace(secured | {"HEADRACE_SASL_PASSWORD": "wrong"}, "topics", "apply")
    assert refused.returncode != 0
    assert b"HEADRACE_SASL_PASSWORD" in refused.stderr, refused.stderr
    unknown = headrace(secured | {"HEADRACE_TLS_CA": ""}, "topics", "apply")
    assert unknown.returncode != 0
    assert b"HEADRACE_TLS_CA" in unknown.stderr, unknown.stderr
