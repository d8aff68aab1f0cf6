"""The connection to the cluster: one place that knows address, security and time-outs."""

from __future__ import annotations

import ssl
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient

from schemas.topics import MAX_MESSAGE_BYTES
from streams.reconnect import patient
from streams.settings import Settings

RETRY_BACKOFF_MS: Final = 20
"""What a producer waits before it asks again. A transaction that begins while the markers of the
last one are still being written is told to wait (CONCURRENT_TRANSACTIONS), and at aiokafka's
100 ms such a commit took 120 ms instead of 8; one in fifty did."""


def tls_context(settings: Settings) -> ssl.SSLContext | None:
    """TLS as the settings ask, or None where the protocol has none."""
    if "SSL" not in settings.security_protocol:
        return None
    context = ssl.create_default_context(
        cafile=None if settings.tls_ca is None else str(settings.tls_ca)
    )
    if settings.tls_cert is not None:
        context.load_cert_chain(settings.tls_cert, settings.tls_key)
    return context


def connection(settings: Settings) -> dict[str, Any]:
    """Keyword arguments that every aiokafka client takes."""
    options: dict[str, Any] = {
        "bootstrap_servers": settings.bootstrap,
        "security_protocol": settings.security_protocol,
        "ssl_context": tls_context(settings),
    }
    if settings.security_protocol.startswith("SASL"):
        options |= {
            "sasl_mechanism": settings.sasl_mechanism,
            "sasl_plain_username": settings.sasl_username,
            "sasl_plain_password": settings.sasl_password.get_secret_value(),
        }
    return options


def producer(settings: Settings, **options: Any) -> AIOKafkaProducer:
    """An idempotent producer, acks=all; keys are hashed with murmur2 as in Java's client."""
    made = AIOKafkaProducer(
        **connection(settings),
        enable_idempotence=True,
        acks="all",
        retry_backoff_ms=RETRY_BACKOFF_MS,
        max_request_size=MAX_MESSAGE_BYTES,
        **options,
    )
    patient(made.client)
    return made


def consumer(settings: Settings, *topics: str, **options: Any) -> AIOKafkaConsumer:
    """A read_committed consumer that commits nothing by itself."""
    made = AIOKafkaConsumer(
        *topics,
        **connection(settings),
        isolation_level="read_committed",
        enable_auto_commit=False,
        **options,
    )
    patient(made._client)  # noqa: SLF001
    return made


def admin(settings: Settings) -> AIOKafkaAdminClient:
    """An admin client."""
    made = AIOKafkaAdminClient(**connection(settings))
    patient(made._client)  # noqa: SLF001
    return made
