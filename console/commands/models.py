"""`headrace models`: which version answers which task, and what becomes of the others."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from console import output
from console.failures import Exit, Failure
from console.scope import Scope, command

if TYPE_CHECKING:
    from schemas.events import ModelVersion
    from streams.settings import Settings

CANARY_EPILOG = """Examples:

headrace models canary 20261122-1 --share 0.05

headrace models canary 20261122-1 --share 0.25 --hold --reason "until Monday"
"""
Version = Annotated[str, typer.Argument(help="The version, as `headrace models list` shows it.")]
Task = Annotated[str, typer.Option(help="The task.")]
Hold = Annotated[
    bool, typer.Option("--hold", help="Leave it there until a person moves it; bounds still hold.")
]

app = typer.Typer()
models = typer.Typer(help="Model versions and their states.", no_args_is_help=True)
app.add_typer(models, name="models")


@command(models, name="list", epilog="Example:\n\nheadrace models list --task sentiment")
def list_models(
    scope: Scope,
    *,
    task: Annotated[str | None, typer.Option(help="Only versions of this task.")] = None,
) -> None:
    """List model versions: state, metrics, and why they are in that state."""
    from kernel import registry

    found = asyncio.run(registry.read(scope.cluster()))
    versions = [one for one in found.versions.values() if task in {None, one.task}]
    if scope.json:
        for one in versions:
            output.line(one)
        return
    output.table(
        "",
        ["task", "version", "state", "since", "metrics", "reason"],
        [
            (
                one.task,
                one.version,
                _state(one),
                one.changed_at.isoformat(timespec="seconds"),
                "  ".join(f"{name}={value:.4g}" for name, value in one.metrics.items()),
                one.reason,
            )
            for one in versions
        ],
    )


@command(models, epilog="Example:\n\nheadrace models history --task sentiment")
def history(
    scope: Scope,
    *,
    task: Annotated[str | None, typer.Option(help="Only versions of this task.")] = None,
) -> None:
    """Show every state that versions had, oldest first: since when, and why."""
    from kernel import promotions

    found = asyncio.run(promotions.history(scope.cluster(), task))
    if scope.json:
        for one in found:
            output.line(one)
        return
    output.table(
        "",
        ["since", "task", "version", "state", "reason"],
        [
            (
                one.changed_at.isoformat(timespec="seconds"),
                one.task,
                one.version,
                _state(one),
                one.reason,
            )
            for one in found
        ],
    )


@command(models, epilog="Example:\n\nheadrace models promote 20261122-1 --task sentiment")
def promote(
    scope: Scope,
    *,
    version: Version,
    task: Task = "sentiment",
    reason: Annotated[str, typer.Option(help="Why, kept with the version.")] = "promoted by hand",
) -> None:
    """Make a version live at once; the kernels swap to it without stopping."""
    from kernel import promotions

    _tell(scope, lambda settings: promotions.promote(settings, task, version, reason, "console"))


@command(models, epilog="Example:\n\nheadrace models rollback --task sentiment")
def rollback(
    scope: Scope,
    *,
    task: Task = "sentiment",
    reason: Annotated[str, typer.Option(help="Why, kept with the version.")] = "rolled back",
) -> None:
    """Make the version live that was live before; the present one retires."""
    from kernel import promotions

    _tell(scope, lambda settings: promotions.roll_back(settings, task, reason, "console"))


@command(models, epilog="Example:\n\nheadrace models shadow 20261122-1 --hold")
def shadow(
    scope: Scope,
    *,
    version: Version,
    task: Task = "sentiment",
    hold: Hold = False,
    reason: Annotated[str, typer.Option(help="Why, kept with the version.")] = "shadowed by hand",
) -> None:
    """Let a version score what the live one answers; no agent hears it.

    The roll-out compares the two and takes the version on to canary and live, or refuses it.
    """
    from kernel import promotions

    _tell(
        scope,
        lambda settings: promotions.shadow(settings, task, version, reason, "console", held=hold),
    )


@command(models, epilog=CANARY_EPILOG)
def canary(
    scope: Scope,
    *,
    version: Version,
    task: Task = "sentiment",
    share: Annotated[
        float, typer.Option(min=0.001, max=1.0, help="Of the threads, those that it answers.")
    ] = 0.05,
    hold: Hold = False,
    reason: Annotated[str, typer.Option(help="Why, kept with the version.")] = "canary by hand",
) -> None:
    """Let a version answer a share of the threads; a thread stays with its version.

    The roll-out compares it with the live one, raises the share and makes it live, or refuses it.
    """
    from kernel import promotions

    _tell(
        scope,
        lambda settings: promotions.canary(
            settings, task, version, reason, "console", share=share, held=hold
        ),
    )


@command(models, epilog="Example:\n\nheadrace models standby 20261122-1 --task sentiment")
def standby(
    scope: Scope,
    *,
    version: Version,
    task: Task = "sentiment",
    reason: Annotated[str, typer.Option(help="Why, kept with the version.")] = "on standby",
) -> None:
    """Serve a version beside the live one, to requests that prefer speed or accuracy."""
    from kernel import promotions

    _tell(scope, lambda settings: promotions.standby(settings, task, version, reason, "console"))


@command(models, epilog='Example:\n\nheadrace models refuse 20261122-1 --reason "slow on Mondays"')
def refuse(
    scope: Scope,
    *,
    version: Version,
    task: Task = "sentiment",
    reason: Annotated[str, typer.Option(help="Why, kept with the version.")] = "refused by hand",
) -> None:
    """End a version's trial for good; its threads go back to the live one."""
    from kernel import promotions

    _tell(scope, lambda settings: promotions.refuse(settings, task, version, reason, "console"))


def _state(version: ModelVersion) -> str:
    state = f"{version.state} {version.share:.0%}" if version.state == "canary" else version.state
    return f"{state} (held)" if version.held else state


def _tell(
    scope: Scope, change: Callable[[Settings], Coroutine[Any, Any, Sequence[ModelVersion]]]
) -> None:
    from kernel.promotions import PromotionRefusedError, UnknownVersionError

    try:
        changes = asyncio.run(change(scope.cluster()))
    except UnknownVersionError as error:
        raise Failure(Exit.NOT_FOUND, str(error)) from error
    except PromotionRefusedError as error:
        raise Failure(Exit.REFUSED, str(error)) from error
    for one in changes:
        if scope.json:
            output.line(one)
        else:
            output.text(f"{one.task} {one.version}: {_state(one)} ({one.reason})")
