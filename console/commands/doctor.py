"""`headrace doctor`: is this machine fit, is the cluster there, and what to do if not."""

from __future__ import annotations

import asyncio
from dataclasses import asdict

import typer

from console import output
from console.failures import Exit
from console.scope import Scope, command

_STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red"}


app = typer.Typer()


@command(app, epilog="Example:\n\nheadrace doctor --bootstrap kafka-1:9092")
def doctor(scope: Scope) -> None:
    """Check Python, Java, jars, ports, disk, memory, compute, cluster, topics, models.

    Each check says ok, warn or fail, and what to do. The exit code is 9 where one fails.
    """
    from console.checks import examine

    checks = asyncio.run(examine(scope.settings()))
    for one in checks:
        if scope.json:
            output.line(asdict(one))
            continue
        output.console().print(
            f"[{_STYLES[one.state]}]{one.state:<5}[/] {one.name:<12} ", end="", soft_wrap=True
        )
        output.text(one.found)
        if one.advice:
            output.text(f"{'':19}to do: {one.advice}")
    if any(one.state == "fail" for one in checks):
        raise typer.Exit(Exit.REFUSED)
