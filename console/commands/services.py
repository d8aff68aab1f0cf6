"""`headrace up`, `ps`, `lag`, and the hidden `serve` that the supervisor starts."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from enum import StrEnum
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Final, Literal

import typer

from console import output
from console.failures import Exit, Failure, explain
from console.scope import Scope, command

if TYPE_CHECKING:
    from streams.settings import Settings


class Role(StrEnum):
    """The services."""

    KERNEL = "kernel"
    RELAY = "relay"
    AGENT = "agent"
    ROLLOUT = "rollout"
    TRAINER = "trainer"
    NOTIFY = "notify"
    CONSOLE = "console"


UP_EPILOG = """Examples:

headrace up

headrace up --console-port 8080

headrace up --bootstrap kafka-1:9092 --data /srv/headrace"""


app = typer.Typer()


@command(app, epilog=UP_EPILOG)
def up(
    scope: Scope,
    *,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Delete what earlier runs left here, then start.")
    ] = False,
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Port of the embedded broker.")
    ] = None,
    console: Annotated[
        bool, typer.Option("--console/--no-console", help="Serve the web console.")
    ] = True,
    console_port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Port of the web console.")
    ] = None,
    console_host: Annotated[
        str | None, typer.Option(help="Address of the web console; others need a password.")
    ] = None,
) -> None:
    """Run everything in the foreground: broker, topics, kernel, relay, agents and the others.

    Without a cluster in the settings, an embedded Kafka broker is started in the data
    folder. Ctrl-C ends the services first and the broker last.
    """
    from console.stack import running, until_signal
    from web.address import link

    given = {"console_port": console_port, "console_host": console_host}
    wanted = scope.settings().model_copy(
        update={name: value for name, value in given.items() if value is not None}
    )

    async def main() -> None:
        async with running(
            wanted, _say(scope), fresh=fresh, port=port, console=console
        ) as settings:
            if console:
                _say(scope)(f"web console: {link(settings)}")
            _say(scope)(f"running; bootstrap {settings.bootstrap}; Ctrl-C stops everything")
            await asyncio.get_running_loop().create_future()

    asyncio.run(until_signal(main(), _say(scope)))
    _say(scope)("stopped")


@command(app)
def ps(scope: Scope) -> None:
    """List the services of this machine: role, process, state, restarts, since when."""
    from streams.machine import Machine

    settings = scope.settings()
    machine = Machine(settings.data)
    services = machine.services()
    if scope.json:
        for one in services:
            output.line(
                {
                    "role": one.role,
                    "pid": one.pid,
                    "state": one.state,
                    "restarts": one.restarts,
                    "since": one.since,
                    "last_exit": one.last_exit,
                    "log": one.log,
                    "metrics": one.metrics,
                }
            )
    elif not machine.running():
        raise Failure(
            Exit.NOT_FOUND,
            f"nothing runs in {settings.data.absolute()}; start it with `headrace up`",
        )
    else:
        output.table(
            "",
            ["role", "pid", "state", "restarts", "since", "last exit", "metrics"],
            [
                (one.role, one.pid, one.state, one.restarts, one.since, one.last_exit, one.metrics)
                for one in services
            ],
        )


Instances = Annotated[int, typer.Argument(min=0, max=16, help="Instances that shall run.")]
Named = Annotated[str, typer.Argument(help="Name as `headrace ps` shows it.")]


@command(app, epilog="Example:\n\nheadrace scale kernel 2")
def scale(scope: Scope, *, service: Named, count: Instances) -> None:
    """Run so many instances of a service; kernel, relay and agents share their partitions."""
    _order(scope, "scale", service, count)


@command(app, epilog="Example:\n\nheadrace stop finance.alerts")
def stop(scope: Scope, *, service: Named) -> None:
    """Stop a service, all its instances, until `headrace start` or the next `headrace up`."""
    _order(scope, "stop", service)


@command(app, epilog="Example:\n\nheadrace start finance.alerts")
def start(scope: Scope, *, service: Named) -> None:
    """Start a service that was stopped, with as many instances as it had."""
    _order(scope, "start", service)


def _order(
    scope: Scope, verb: Literal["start", "stop", "scale"], service: str, count: int = 1
) -> None:
    """Give an order to the supervisor of the data folder."""
    from streams import control

    order = control.Order(verb=verb, service=service, count=count)
    try:
        said = asyncio.run(control.ask(scope.settings().data.absolute(), order))
    except control.ControlError as error:
        raise Failure(Exit.NOT_FOUND, str(error)) from error
    if scope.json:
        output.line({"service": service, "said": said})
    else:
        output.text(said)


@command(app)
def lag(scope: Scope) -> None:
    """Show how far each service is behind: group, partition, committed, end, lag."""
    from streams.lag import lags

    rows = asyncio.run(lags(scope.cluster()))
    if scope.json:
        for one in rows:
            output.line(
                {
                    "group": one.group,
                    "topic": one.topic,
                    "partition": one.partition,
                    "committed": one.committed,
                    "end": one.end,
                    "lag": one.lag,
                }
            )
        return
    output.table(
        "",
        ["group", "topic", "partition", "committed", "end", "lag"],
        [(one.group, one.topic, one.partition, one.committed, one.end, one.lag) for one in rows],
    )


@command(app, hidden=True)
def serve(
    scope: Scope,
    *,
    role: Annotated[Role, typer.Argument(help="Which one; `agent` takes the agent's name.")],
    name: Annotated[str | None, typer.Argument(help="Name of the agent.")] = None,
) -> None:
    """Run one service until SIGTERM; `headrace up` starts them this way."""
    from console import logs
    from streams.tracing import tracing

    settings = scope.cluster()
    service = name or role.value
    logs.configure(service, form=settings.log_format, debug=scope.debug)
    log = logging.getLogger("console.serve")
    log.info("starting with the cluster at %s", settings.bootstrap)
    try:
        with tracing(service):
            _service(role, name)(settings)
    except Exception as error:
        if explain(error) is None:
            log.exception("ended by an error")
            raise typer.Exit(Exit.BUG) from error
        raise
    log.info("ended")


_MODULES: Final = {
    Role.KERNEL: "kernel.service",
    Role.RELAY: "streams.relay",
    Role.ROLLOUT: "kernel.rollout_service",
    Role.TRAINER: "trainer.service",
    Role.NOTIFY: "web.notify.service",
    Role.CONSOLE: "web.service",
}


def _service(role: Role, name: str | None) -> Callable[[Settings], None]:
    """What runs the service; only its own libraries are imported."""
    if role in _MODULES:
        run: Callable[[Settings], None] = import_module(_MODULES[role]).run
        return run
    if name is None:
        raise Failure(Exit.USAGE, "serve agent needs the agent's name, e.g. finance.reader")
    from agents.service import run as run_agent

    return lambda settings: run_agent(settings, name)


def _say(scope: Scope) -> output.Say:
    return output.say(as_json=scope.json)
