"""`headrace chaos` and `headrace check`: the proof of the law of delivery (docs/delivery.md)."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from console import output
from console.failures import Exit, Failure
from console.scope import Scope, command

if TYPE_CHECKING:
    from proof.chaos.faults import Menu
    from proof.chaos.runner import Report

app = typer.Typer()

EPILOG = """Examples:

headrace chaos --seed 1 --minutes 2 --json

headrace chaos --seed 1 --minutes 1 --subject shared-consumer

headrace chaos --seed 2 --minutes 10 --brokers 3

headrace chaos --faults kill,zombie --history run.jsonl"""


@command(app, epilog=EPILOG)
def chaos(  # noqa: PLR0917  (the options of a command)
    scope: Scope,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same faults.")] = 1,
    minutes: Annotated[float, typer.Option(min=0.1, help="How long faults are injected.")] = 10.0,
    subject: Annotated[
        str | None, typer.Option(help="Attack this small service, known to be broken, instead.")
    ] = None,
    faults: Annotated[
        str | None, typer.Option(help="Only these kinds, with commas between; none: no fault.")
    ] = None,
    brokers: Annotated[
        int, typer.Option(min=1, max=3, help="One, or a cluster of three with three replicas.")
    ] = 1,
    rate: Annotated[float | None, typer.Option(min=1, help="Events a second.")] = None,
    every: Annotated[float | None, typer.Option(min=0.5, help="Seconds between faults.")] = None,
    history: Annotated[Path | None, typer.Option(help="Write the history to this file.")] = None,
) -> None:
    """Run everything, inject faults, count every event; exit 1 if anything is wrong.

    It runs in a folder of its own, with a broker of its own, and touches no other. Where
    something is wrong the folder is kept and named.
    """
    from proof.chaos import history as histories
    from proof.chaos.pipeline_system import CLUSTER_MENU, MENU, attack_pipeline
    from proof.chaos.runner import SUBJECT_MENU, NotWorkingError, Options, attack_subject
    from proof.chaos.subjects import SUBJECTS
    from proof.installation import InstallationError

    if subject is not None and subject not in SUBJECTS:
        raise Failure(Exit.USAGE, f"--subject {subject}: there are {', '.join(SUBJECTS)}")
    if brokers == 2 or (subject is not None and brokers != 1):
        raise Failure(Exit.USAGE, f"--brokers {brokers}: there is one, or without --subject three")
    menu = SUBJECT_MENU if subject is not None else CLUSTER_MENU if brokers > 1 else MENU
    options = Options(
        seed=seed,
        minutes=minutes,
        rate=rate or (100.0 if subject is None else 400.0),
        every_s=every or (9.0 if subject is None else 4.0),
        rest_s=300.0 if subject is None else 30.0,
        menu=_menu(menu, faults),
        brokers=brokers,
    )
    say = _progress(scope)
    folder = Path(tempfile.mkdtemp(prefix="headrace-chaos-"))
    keep = True
    try:
        run = (
            attack_pipeline(options, folder, say)
            if subject is None
            else attack_subject(subject, options, folder, say)
        )
        report, entries = asyncio.run(run)
        if history is not None:
            histories.write(history, entries)
        keep = bool(report.anomalies)
        if keep:
            histories.write(folder / "history.jsonl", entries)
    except (NotWorkingError, InstallationError) as error:
        raise Failure(Exit.BUG, f"{error}; the run's folder is {folder}") from error
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)
    _tell(scope, report, folder)


@command(app, epilog="Example:\n\nheadrace check run.jsonl --json")
def check(
    scope: Scope,
    history: Annotated[Path, typer.Argument(help="A history, as `headrace chaos` writes it.")],
) -> None:
    """Name the anomalies in a history; exit 1 if there is one."""
    from proof.chaos import checker, derived
    from proof.chaos.history import HistoryError, read

    try:
        found = checker.check(checker.History.of(read(history)), derived.CHECKS)
    except HistoryError as error:
        raise Failure(Exit.USAGE, str(error)) from error
    counts = dict(sorted(Counter(one.kind for one in found).items()))
    if scope.json:
        output.line({"anomalies": counts, "evidence": [asdict(one) for one in found]})
    else:
        for one in found:
            output.text(f"{one.kind}: {one.evidence}")
        output.text(f"{len(found)} anomalies")
    if found:
        raise typer.Exit(Exit.BUG)


def _menu(whole: Menu, asked: str | None) -> Menu:
    """The kinds of faults that were asked for."""
    if asked is None:
        return whole
    if asked == "none":
        return {}
    unknown = [kind for kind in asked.split(",") if kind not in whole]
    if unknown:
        raise Failure(
            Exit.USAGE, f"--faults {', '.join(unknown)}: there are none, {', '.join(whole)}"
        )
    return {kind: whole[kind] for kind in asked.split(",")}


def _tell(scope: Scope, report: Report, folder: Path) -> None:
    if scope.json:
        output.line(asdict(report))
    else:
        _print(report)
    if report.anomalies:
        output.errors().print(f"logs and history are kept in {folder}", markup=False)
        raise typer.Exit(Exit.BUG)


def _print(report: Report) -> None:
    rows: list[tuple[str, Any]] = [
        ("events", report.events),
        ("results", report.results),
        ("dead letters", report.dead_letters),
        ("records of aborted transactions", report.aborted_records),
        ("faults", ", ".join(f"{count} {kind}" for kind, count in report.faults.items())),
        ("not injected", ", ".join(report.missed) or "none"),
        ("recovery, s", ", ".join(f"{name} {at}" for name, at in report.recovery_s.items())),
        ("anomalies", ", ".join(f"{n} {kind}" for kind, n in report.anomalies.items()) or "none"),
    ]
    output.table(f"{report.subject}, seed {report.seed}", ["what", "found"], rows)
    for one in report.evidence:
        output.text(f"{one['kind']}: {one['evidence']}")


def _progress(scope: Scope) -> output.Say:
    """Progress goes to standard error, where somebody watches."""
    if scope.json:
        return lambda _: None
    return lambda text: output.errors().print(text, markup=False)
