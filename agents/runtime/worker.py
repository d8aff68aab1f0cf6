"""One agent as a process: its Faust app, from the first connection to the clean end."""

from __future__ import annotations

import asyncio
import logging
import os
from typing import Any, Final
from uuid import uuid4

import faust

from agents.runtime import watchdog
from agents.runtime.agent import Agent
from agents.runtime.executor import Executor
from agents.runtime.failstop import Pulse, fail_stop
from agents.runtime.metrics import executor_samples
from agents.runtime.outgoing import Outgoing
from agents.runtime.provision import make_changelog, wait_for_topics
from agents.runtime.state import StateTable
from agents.runtime.transport import Transport
from schemas import ids
from schemas.topics import OUTBOX, REQUESTS
from streams.exposition import exposed
from streams.settings import Settings

log = logging.getLogger(__name__)

_REBALANCE_S: Final = 60.0
_POLL_S: Final = 300.0
_END_S: Final = 10.0


class AgentApp(faust.App):  # type: ignore[misc]
    """A Faust app with the transport of this package and no service that we do not use."""

    def __init__(self, settings: Settings, agent: Agent[Any, Any]) -> None:
        self.settings = settings
        self.executor: Executor[Any, Any]
        self.source_topics = {agent.source.name}
        self.worker_id = f"{os.getpid()}-{uuid4().hex[:8]}"
        folder = settings.data / "agents" / agent.name
        folder.mkdir(parents=True, exist_ok=True)
        session_s = settings.session_timeout_ms / 1000
        super().__init__(
            ids.group_id(agent.name),
            broker="kafka://" + settings.bootstrap.replace(",", ";"),
            datadir=str(folder),
            store="memory://",
            autodiscover=False,
            # Faust tells workers apart by this address; nothing listens there.
            canonical_url=f"http://{self.worker_id}:6066",
            web_enabled=False,
            topic_allow_declare=False,
            topic_disable_leader=True,
            table_standby_replicas=0,
            stream_wait_empty=False,
            broker_session_timeout=session_s,
            broker_request_timeout=max(90.0, 2 * session_s),
            broker_rebalance_timeout=_REBALANCE_S,
            broker_max_poll_interval=_POLL_S,
        )

    def _new_transport(self) -> Transport:
        return Transport(self.conf.broker_consumer, self)

    def _new_producer_transport(self) -> Transport:
        return Transport(self.conf.broker_producer, self)


def changelog_name(agent: Agent[Any, Any]) -> str:
    """Name of the topic that holds the agent's states."""
    return f"{ids.group_id(agent.name)}-state-changelog"


async def serve(settings: Settings, agent: Agent[Any, Any]) -> None:
    """Run `agent` until cancelled; what it cannot go on with ends the process."""
    for name in ("faust", "mode", "aiokafka"):
        logger = logging.getLogger(name)
        if logger.level == logging.NOTSET:  # they tell of every step; ours tells of the turns
            logger.setLevel(logging.WARNING)
    emits = {topic.name for topic in agent.emits_to}
    direct = emits & {topic.name for topic in REQUESTS.values()}
    counts = await wait_for_topics(settings, {agent.source.name, OUTBOX.name, *direct})
    stateful = agent.state_type is not None
    if stateful:
        await make_changelog(settings, changelog_name(agent), counts[agent.source.name])

    app = AgentApp(settings, agent)
    table = None
    if stateful:
        table = StateTable(
            app,
            state_type=agent.state_type,
            name="state",
            partitions=counts[agent.source.name],
            beacon=app.tables.beacon,
        )
        app.tables.add(table)
    outgoing = Outgoing(settings, agent.name)
    pulse = Pulse(settings.session_timeout_ms / 1000, settings.standstill_s)
    executor = app.executor = Executor(agent, outgoing, table, pulse)
    _define(app, agent, executor)

    await outgoing.start()
    pulse.watch()
    tasks = [
        asyncio.create_task(coroutine)
        for coroutine in (
            executor.checkpoints(),
            watchdog.beat(pulse, app),
            watchdog.watch(app, executor, settings.standstill_s),
        )
    ]
    try:
        with exposed(settings, agent.name, lambda: executor_samples(agent.name, executor)):
            await app.start()
            await asyncio.gather(*tasks)
    except asyncio.CancelledError:
        log.info("%s: ends", agent.name)
        raise
    finally:
        await _end(app, executor, outgoing, tasks)


async def _end(
    app: AgentApp, executor: Executor[Any, Any], outgoing: Outgoing, tasks: list[asyncio.Task[None]]
) -> None:
    try:
        async with asyncio.timeout(_END_S):
            await executor.close()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await app.stop()
            await outgoing.stop()
    except TimeoutError:
        fail_stop("the brokers did not take the last messages in time: they will be said again")


def _define(app: AgentApp, agent: Agent[Any, Any], executor: Executor[Any, Any]) -> None:
    topic = app.topic(
        agent.source.name, key_type=bytes, value_type=bytes, key_serializer="raw",
        value_serializer="raw", allow_empty=True,
    )  # fmt: skip

    async def body(stream: Any) -> None:
        try:
            async for batch in stream.noack():
                await executor.take(batch)
        except Exception as error:  # noqa: BLE001  (Faust would start the body anew and go on)
            fail_stop(f"{agent.name}: {error!r}")

    app.agent(topic, name=agent.name, concurrency=1)(body)
