"""One broker, one kernel and one web console for all tests of the console."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from console.demo import feed_events
from kernel import registry
from proof import tiny_model
from schemas.events import ModelState, ModelVersion
from schemas.ids import model_key
from streams import cluster as clients
from streams.admin import apply
from streams.broker import EmbeddedBroker
from streams.broker_folder import free_port
from streams.settings import Settings
from tests.support.site import service, serving
from tests.support.story import Told, tell
from web.access import Access, Role, folder

_EVENTS = 200


@dataclass(frozen=True)
class Site:
    """A console that serves a story which has happened."""

    settings: Settings
    base: str
    told: Told
    tokens: dict[Role, str]
    broker: EmbeddedBroker

    def client(self, role: Role | None = "operator") -> httpx.Client:
        """A client with the token of a role; None: without any."""
        headers = {} if role is None else {"authorization": f"Bearer {self.tokens[role]}"}
        return httpx.Client(base_url=self.base, headers=headers, timeout=30)


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory, _settings_of_nobody: None) -> Iterator[Site]:
    folder_ = tmp_path_factory.mktemp("site")
    broker = EmbeddedBroker(folder_ / "broker")
    asyncio.run(broker.start())
    try:
        settings = Settings(data=folder_, bootstrap=broker.bootstrap, console_port=free_port())
        told = asyncio.run(_prepare(settings, folder_ / "scratch"))
        access = Access(folder(settings))
        roles: tuple[Role, ...] = ("viewer", "labeller", "operator")
        tokens = {role: access.make_token(role, role) for role in roles}
        with service(settings, "kernel"), serving(settings) as base:
            yield Site(settings, base, told, tokens, broker)
    finally:
        asyncio.run(broker.stop())


async def _prepare(settings: Settings, scratch: Path) -> Told:
    await apply(settings)
    told = await tell(settings, feed_events()[:_EVENTS])
    await announce(settings, "tiny-1", scratch, live=True)
    await announce(settings, "tiny-2", scratch, live=False)
    return told


async def announce(settings: Settings, version: str, scratch: Path, *, live: bool) -> None:
    """Make a tiny model, and announce it as candidate or live."""
    address, digest = tiny_model.make(settings.models, version, scratch)
    state: ModelState = "candidate"
    made = ModelVersion(
        id=model_key("sentiment", version),
        task="sentiment",
        version=version,
        state=state,
        labels=tiny_model.LABELS,
        artefact=address,
        digest=digest,
        metrics={"accuracy": 0.9, "macro_f1": 0.88},
        changed_at=datetime.now(UTC),
    )
    now = await registry.read(settings)
    producer = clients.producer(settings)
    await producer.start()
    try:
        said = registry.promotion(now, made, "test") if live else [made]
        await registry.announce(producer, said, "test")
    finally:
        await producer.stop()
