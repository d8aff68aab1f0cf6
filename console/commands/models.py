"""`headrace models`: which version answers which task."""

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


app = typer.Typer()
models = typer.Typer(help="Model versions and their states.", no_args_is_help=True)
app.add_typer(models, name="models")


@command(models, name="list")
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
                one.state,
                one.changed_at.isoformat(timespec="seconds"),
                "  ".join(f"{name}={value:.4g}" for name, value in one.metrics.items()),
                one.reason,
            )
            for one in versions
        ],
    )


@command(models, epilog="Example:\n\nheadrace models promote 20261122-1 --task sentiment")
def promote(
    scope: Scope,
    *,
    version: Annotated[str, typer.Argument(help="The version that shall answer.")],
    task: Annotated[str, typer.Option(help="The task.")] = "sentiment",
    reason: Annotated[str, typer.Option(help="Why, kept with the version.")] = "promoted by hand",
) -> None:
    """Make a version live; the kernels swap to it without stopping."""
    from kernel import promotions

    _tell(
        scope,
        lambda settings: promotions.promote(settings, task, version, reason, "console"),
    )


@command(models, epilog="Example:\n\nheadrace models rollback --task sentiment")
def rollback(
    scope: Scope,
    *,
    task: Annotated[str, typer.Option(help="The task.")] = "sentiment",
    reason: Annotated[str, typer.Option(help="Why, kept with the version.")] = "rolled back",
) -> None:
    """Make the version live that was live before; the present one retires."""
    from kernel import promotions

    _tell(scope, lambda settings: promotions.roll_back(settings, task, reason, "console"))


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
            output.text(f"{one.task} {one.version}: {one.state} ({one.reason})")
