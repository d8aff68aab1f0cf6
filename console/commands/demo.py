"""`headrace demo`: everything at once, live in this terminal."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from console import output
from console.commands.publish import parse_speed
from console.scope import Scope, command

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from console.board import Board
    from streams.reading import Record
    from streams.settings import Settings


class ExitAfter(StrEnum):
    """When the demo ends by itself."""

    FIRST_VERDICT = "first-verdict"
    REPLAY = "replay"


EPILOG = """Examples:

headrace demo

headrace demo --no-screen --exit-after first-verdict --json"""
_DRAWS_A_SECOND = 5
_LOOK_S = 0.05


app = typer.Typer()


@command(app, epilog=EPILOG)
def demo(
    scope: Scope,
    *,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Delete what earlier runs left here, then start.")
    ] = False,
    speed: Annotated[
        str, typer.Option(help="How many times faster than the feed's times; or max.")
    ] = "600",
    no_screen: Annotated[
        bool, typer.Option("--no-screen", help="Print lines instead of the live screen.")
    ] = False,
    exit_after: Annotated[
        ExitAfter | None, typer.Option(help="End by itself: for timing and tests.")
    ] = None,
    console: Annotated[
        bool | None,
        typer.Option(
            "--console/--no-console",
            help="Serve the web console too; by default where the demo does not end by itself.",
        ),
    ] = None,
) -> None:
    """Run everything and show it: a feed goes in, sentiment and alerts come out, live.

    The first run teaches the first model from the starter labels (about two minutes on
    two cores); later runs use what the first one made. Ctrl-C stops everything.
    """
    from console.stack import until_signal

    began = time.monotonic()
    factor = parse_speed(speed)
    screen = sys.stdout.isatty() and not no_screen and not scope.json
    show = Show(scope, screen=screen, began=began, exit_after=exit_after)
    served = exit_after is None if console is None else console
    asyncio.run(until_signal(show.run(factor, fresh=fresh, console=served), show.say))
    show.summarise()


class Show:
    """One run of the demo and how it is shown: a live screen, lines, or JSON lines."""

    def __init__(
        self, scope: Scope, *, screen: bool, began: float, exit_after: ExitAfter | None
    ) -> None:
        from console.board import Board

        self._scope = scope
        self._screen = screen
        self._began = began
        self._exit_after = exit_after
        self._verdict = asyncio.Event()
        self.board: Board = Board()

    def say(self, message: str) -> None:
        """Tell what is going on."""
        self.board.tell(message)
        if not self._screen:
            output.say(as_json=self._scope.json)(message)

    async def run(self, speed: float | None, *, fresh: bool, console: bool) -> None:
        """Run until cancelled, or until what `exit_after` names."""
        from console import demo
        from console.stack import running
        from web.address import link

        async with self._drawing():
            self.board.stage = "starting"
            wanted = self._scope.settings()
            console = console and self._can_listen(wanted)
            async with running(wanted, self.say, fresh=fresh, console=console) as settings:
                if console:
                    self.board.notice = f"web console: {link(settings)}; Ctrl-C stops everything"
                    self.say(self.board.notice)
                async with demo.watching(settings, self.board, self._seen), self._told():
                    await demo.teach(settings, self.board)
                    self.board.stage = "live"
                    self.say("a model is live")
                    await self._replay(settings, speed)
                self.board.stage = "stopping"

    def _can_listen(self, settings: Settings) -> bool:
        """Whether the web console's port is free; a demo goes on without it."""
        from web.access import AccessError
        from web.address import ListenError, listen

        try:
            listen(settings).close()
        except (AccessError, ListenError) as error:
            self.say(f"without the web console: {error}")
            return False
        return True

    async def _replay(self, settings: Settings, speed: float | None) -> None:
        from console import demo

        events = demo.feed_events()
        since = datetime.now(UTC)
        prefix = f"{since:%y%m%d%H%M%S}-"
        moved = demo.shifted(events, demo.next_shift(settings, events), prefix)
        sending = asyncio.ensure_future(demo.replay(settings, moved, speed, self.board))
        try:
            if self._exit_after is ExitAfter.FIRST_VERDICT:
                await self._verdict.wait()
                return
            await sending
            self.say("the feed has been replayed; Ctrl-C stops everything")
            if self._exit_after is ExitAfter.REPLAY:
                await demo.all_seen(settings, since, self.board)
                return
            await asyncio.get_running_loop().create_future()
        finally:
            sending.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await sending

    def _seen(self, record: Record) -> None:
        from console.lines import describe
        from schemas.topics import ALERTS, RESULTS
        from streams.reading import as_line

        if record.topic == RESULTS.name and self.board.first_verdict_s is None:
            self.board.first_verdict_s = round(time.monotonic() - self._began, 1)
            self.say(f"first verdict after {self.board.first_verdict_s} s")
            self._verdict.set()
        if not self._screen and record.topic in {RESULTS.name, ALERTS.name}:
            if self._scope.json:
                output.line(as_line(record))
            else:
                output.text(describe(record))

    @contextlib.asynccontextmanager
    async def _drawing(self) -> AsyncIterator[None]:
        if not self._screen:
            yield
            return
        from rich.live import Live

        from console.screen import render

        console = output.console()

        async def draw(live: Live) -> None:
            while True:
                live.update(render(self.board, *console.size), refresh=True)
                await asyncio.sleep(1 / _DRAWS_A_SECOND)

        with Live(console=console, screen=True, auto_refresh=False) as live:
            task = asyncio.ensure_future(draw(live))
            try:
                yield
            finally:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task

    @contextlib.asynccontextmanager
    async def _told(self) -> AsyncIterator[None]:
        """Without a screen: the stages, and the training in steps of a tenth."""
        if self._screen:
            yield
            return

        async def tell() -> None:
            stage, tenth = "", -1
            while True:
                if self.board.stage != stage:
                    stage = self.board.stage
                    self.say(stage)
                if self.board.training is not None:
                    step, of, eta = self.board.training
                    now = 10 * step // max(of, 1)
                    if now != tenth:
                        tenth = now
                        left = "" if eta is None else f", {eta:.0f} s left"
                        self.say(f"teaching the first model: step {step} of {of}{left}")
                await asyncio.sleep(_LOOK_S)

        task = asyncio.ensure_future(tell())
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    def summarise(self) -> None:
        """What happened, in one line, after the screen is gone."""
        board = self.board
        if self._scope.json:
            output.line(
                {
                    "first_verdict_s": board.first_verdict_s,
                    "published": board.published,
                    "verdicts": board.verdict_count,
                    "alerts": board.alert_count,
                    "dead_letters": board.dead_count,
                    "model": board.model,
                }
            )
            return
        first = "none" if board.first_verdict_s is None else f"after {board.first_verdict_s} s"
        output.text(
            f"{board.published} events published, {board.verdict_count} verdicts "
            f"(first {first}), {board.alert_count} alerts, {board.dead_count} dead letters; "
            "everything is stopped"
        )
