"""What every command knows: data folder, cluster, and how to speak; given anywhere on the line.

`command` registers a function whose first parameter is a `Scope` and gives the command
the options `--data`, `--bootstrap`, `--json` and `--debug`, but for one that it has itself.
The same options before the command's name hold unless the command repeats them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version as release
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streams.machine import Machine

if TYPE_CHECKING:
    from streams.settings import Settings

DataOption = Annotated[
    Path | None,
    typer.Option("--data", help="Folder of broker, models and logs.", rich_help_panel="Everywhere"),
]
BootstrapOption = Annotated[
    str | None,
    typer.Option("--bootstrap", help="host:port of a Kafka cluster.", rich_help_panel="Everywhere"),
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print JSON.", rich_help_panel="Everywhere")
]
DebugOption = Annotated[
    bool, typer.Option("--debug", help="Show tracebacks and logs.", rich_help_panel="Everywhere")
]


def _say_version(asked: bool) -> None:
    if asked:
        typer.echo(f"headrace {release('headrace')}")
        raise typer.Exit


VersionOption = Annotated[
    bool,
    typer.Option(
        "--version", help="Print the version and exit.", is_eager=True, callback=_say_version
    ),
]


class NoClusterError(Exception):
    """No cluster was named and none runs in the data folder."""


@dataclass(frozen=True, slots=True)
class Scope:
    """The shared options as given."""

    data: Path | None = None
    bootstrap: str | None = None
    json: bool = False
    debug: bool = False

    def under(self, outer: Scope) -> Scope:
        """These options, where absent those of `outer`."""
        return Scope(
            self.data or outer.data,
            self.bootstrap or outer.bootstrap,
            self.json or outer.json,
            self.debug or outer.debug,
        )

    def settings(self) -> Settings:
        """Settings with the options of the command line above all others."""
        from streams.settings import Settings

        given: dict[str, Any] = {}
        if self.data is not None:
            given["data"] = self.data
        if self.bootstrap is not None:
            given["bootstrap"] = self.bootstrap
        return Settings(**given)

    def cluster(self) -> Settings:
        """Settings whose `bootstrap` names a cluster: the given one, else the embedded one.

        Raises:
            NoClusterError: there is neither.
        """
        settings = self.settings()
        if settings.bootstrap:
            return settings
        running = Machine(settings.data).cluster()
        if running is None:
            raise NoClusterError(
                f"no cluster: none runs in {settings.data.absolute()}; "
                "start one with `headrace up`, or name one with --bootstrap"
            )
        return settings.model_copy(update={"bootstrap": running.bootstrap})


def outer_scope(
    context: typer.Context,
    data: DataOption = None,
    bootstrap: BootstrapOption = None,
    json: JsonOption = False,
    debug: DebugOption = False,
    *,
    version: VersionOption = False,  # noqa: ARG001  (its callback has done what there is to do)
) -> None:
    """Keep the options that stand before the command's name."""
    context.obj = Scope(data, bootstrap, json, debug)


def command(
    app: typer.Typer, name: str | None = None, **options: Any
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register a command that takes a `Scope` first; its docstring is its help."""

    def register(function: Callable[..., None]) -> Callable[..., None]:
        own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]
        names = {"version"} | {one.name for one in own}
        shared = [
            one
            for one in inspect.signature(outer_scope, eval_str=True).parameters.values()
            if one.name not in names
        ]
        keyword = inspect.Parameter.KEYWORD_ONLY
        parameters = [one.replace(kind=keyword) for one in (*own, *shared)]

        def run(**values: Any) -> None:
            context: typer.Context = values.pop("context")
            inner = Scope(**{one.name: values.pop(one.name) for one in shared[1:]})
            outer = context.obj if isinstance(context.obj, Scope) else Scope()
            function(inner.under(outer), **values)

        run.__doc__ = function.__doc__
        run.__name__ = function.__name__
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {one.name: one.annotation for one in parameters}
        app.command(name, **options)(run)
        return function

    return register
