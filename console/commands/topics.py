"""`headrace topics`: the catalogue on the cluster."""

from __future__ import annotations

import asyncio

import typer

from console import output
from console.scope import Scope, command

app = typer.Typer()
topics = typer.Typer(help="The catalogue of topics on the cluster.", no_args_is_help=True)
app.add_typer(topics, name="topics")


@command(topics, epilog="Example:\n\nheadrace topics apply --bootstrap kafka-1:9092")
def apply(scope: Scope) -> None:
    """Create or alter the topics of the catalogue; may be repeated, never shrinks one."""
    from streams import admin

    changes = asyncio.run(admin.apply(scope.cluster()))
    if scope.json:
        for one in changes:
            output.line({"topic": one.topic, "action": one.action, "detail": one.detail})
        return
    output.table(
        "",
        ["topic", "action", "detail"],
        [(one.topic, one.action, one.detail) for one in changes],
    )


@command(topics, name="list")
def list_topics(scope: Scope) -> None:
    """List the topics: what they carry, key, partitions, first and end offsets."""
    from schemas.topics import CATALOGUE
    from streams import admin

    states = asyncio.run(admin.describe(scope.cluster()))
    rows = []
    for one in states:
        topic = CATALOGUE[one.topic]
        rows.append(
            {
                "topic": one.topic,
                "about": topic.about,
                "key": topic.key,
                "partitions": one.partitions,
                "replication": one.replication,
                "earliest": one.earliest,
                "latest": one.latest,
                "configs": one.configs,
            }
        )
    if scope.json:
        for row in rows:
            output.line(row)
        return
    shown = ["topic", "partitions", "replication", "earliest", "latest", "key", "about"]
    output.table("", shown, [[row[name] for name in shown] for row in rows])
