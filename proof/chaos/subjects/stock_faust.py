"""Stock Faust, as its documentation has it: with concurrency=2, and with exactly_once."""

from __future__ import annotations

import asyncio
import os
import random
from typing import Any

import faust
from faust.cli.faust import cli

from proof.chaos.subjects import IN, OUT, SERVICE, WORK_S
from schemas.ids import group_id
from streams.settings import Settings


def run(settings: Settings, *, exactly_once: bool) -> None:
    """Run a worker until SIGTERM."""
    folder = settings.data / "faust" / str(os.getpid())
    folder.mkdir(parents=True, exist_ok=True)
    app = faust.App(
        group_id(SERVICE),
        broker=f"kafka://{settings.bootstrap}",
        datadir=str(folder),
        store="memory://",
        autodiscover=False,
        canonical_url=f"http://{os.getpid()}:6066",
        topic_disable_leader=True,
        broker_session_timeout=settings.session_timeout_ms / 1000,
        broker_heartbeat_interval=settings.session_timeout_ms / 6000,
        processing_guarantee="exactly_once" if exactly_once else "at_least_once",
    )
    source = app.topic(
        IN, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw"
    )
    sink = app.topic(
        OUT, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw"
    )

    async def copy(stream: Any) -> None:
        async for event in stream.events():
            await asyncio.sleep(random.uniform(0, WORK_S))
            await sink.send(key=event.key, value=event.value)

    app.agent(source, concurrency=1 if exactly_once else 2)(copy)
    app.finalize()
    app.worker_init()
    cli(["worker", "--without-web", "--loglevel", "warn"], app=app)
