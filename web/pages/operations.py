"""Operations: lag, brokers, hops, services, logs, who did what, and who may."""

from __future__ import annotations

from typing import Any, Final

from fastapi import Request
from nicegui import ui

from schemas.ids import group_id
from streams.control import MOST_INSTANCES
from web.access import ROLES, Role
from web.actions import Verb
from web.console import Console
from web.live import HOPS
from web.pages.frame import Page, button, duration, heading, moment, scrolling, section
from web.pages.threads import pre
from web.queries import Row
from web.text import shown

_REFRESH_S: Final = 2.0


def register(console: Console) -> None:
    """Make the page known."""

    @ui.page("/operations", title="Operations")
    async def operations(request: Request) -> None:
        page = Page(console, request, "Operations")
        with page.body():
            heading("Operations", "How far each part is behind, and how it is doing.")
            await _Operations(page).build()


def _table(
    title: str, columns: tuple[tuple[str, str], ...], key: str, wide: tuple[str, ...] = ()
) -> ui.table:
    with ui.card().classes("hr-card"):
        section(title)
        with scrolling(title):
            return (
                ui.table(
                    columns=[
                        {
                            "name": name,
                            "label": label,
                            "field": name,
                            "align": "left",
                            "classes": "hr-cell-text" if name in wide else "hr-num",
                        }
                        for name, label in columns
                    ],
                    rows=[],
                    row_key=key,
                    pagination={"rowsPerPage": 12},
                )
                .props('flat dense no-data-label="nothing yet"')
                .classes("w-full")
            )


class _Operations:
    def __init__(self, page: Page) -> None:
        self._page = page
        self._seen: dict[str, Any] = {}

    async def build(self) -> None:
        self._facts = ui.row().classes("hr-row").style("min-height: 30px")
        with ui.element("div").classes("hr-two"):
            with ui.column().classes("gap-4").style("min-width: 0"):
                self._services = _table(
                    "Services on this machine",
                    (
                        ("role", "service"),
                        ("state", "state"),
                        ("pid", "process"),
                        ("cpu", "CPU"),
                        ("memory", "memory"),
                        ("restarts", "restarts"),
                        ("last_exit", "last exit"),
                    ),
                    "role",
                )
                with ui.row().classes("hr-row"):
                    self._role = (
                        ui.select([], label="Service", on_change=self._tail)
                        .props("outlined dense options-dense")
                        .style("width: 190px")
                    )
                    button("Restart it", lambda: self._operate("restart"))
                    button("Stop it", lambda: self._operate("stop"))
                    button("Start it", lambda: self._operate("start"))
                    self._count = (
                        ui.number("Instances", value=1, min=0, max=MOST_INSTANCES, precision=0)
                        .props("outlined dense")
                        .style("width: 100px")
                    )
                    button("Run so many", lambda: self._operate("scale"))
                    button("Read its log again", self._tail)
                self._log = ui.column().classes("w-full")
                self._lag = _table(
                    "Lag by partition",
                    (
                        ("group", "service"),
                        ("topic", "topic"),
                        ("partition", "part."),
                        ("committed", "committed"),
                        ("end", "end"),
                        ("lag", "lag"),
                    ),
                    "key",
                )
            with ui.column().classes("gap-4").style("min-width: 0"):
                self._hops = _table(
                    "Hops",
                    (("hop", "hop"), ("p50", "p50"), ("p95", "p95"), ("p99", "p99"), ("n", "of")),
                    "hop",
                )
                self._rates = _table(
                    "Throughput", (("topic", "topic"), ("rate", "records/s")), "topic"
                )
                self._brokers = _table(
                    "Brokers",
                    (("id", "node"), ("host", "address"), ("controller", "controller")),
                    "id",
                )
        self._audit = _table(
            "Who did what",
            (
                ("time", "time (UTC)"),
                ("who", "who"),
                ("action", "action"),
                ("subject", "subject"),
                ("outcome", "outcome"),
            ),
            "time",
            wide=("subject",),
        )
        if self._page.actor.may("operator"):
            _Users(self._page).build()
        await self._refresh()
        self._page.every(_REFRESH_S, self._refresh)

    async def _refresh(self) -> None:
        console = self._page.console
        gauges, live = console.gauges, console.live
        self._fill(
            self._services,
            [
                one
                | {
                    "cpu": _percent(one["cpu_percent"]),
                    "memory": "" if one["memory_mib"] is None else f"{one['memory_mib']} MiB",
                    "pid": one["pid"] or "",
                }
                for one in gauges.services
            ],
        )
        roles = [str(one["role"]) for one in gauges.services]
        if roles != self._role.options:
            self._role.set_options(roles)
        self._fill(
            self._lag,
            [
                {
                    "key": f"{one.group}/{one.topic}/{one.partition}",
                    "group": one.group.removeprefix(group_id("")),
                    "topic": one.topic,
                    "partition": one.partition,
                    "committed": "" if one.committed is None else one.committed,
                    "end": one.end,
                    "lag": one.lag,
                }
                for one in sorted(gauges.lags, key=lambda one: -one.lag)
            ],
        )
        self._fill(
            self._hops,
            [
                {"hop": HOPS[name], "n": one["n"]}
                | {share: duration(one[share]) for share in ("p50", "p95", "p99")}
                for name, one in live.hops().items()
            ],
        )
        self._fill(
            self._rates,
            [{"topic": name, "rate": f"{rate:.1f}"} for name, rate in sorted(live.rates().items())],
        )
        self._fill(
            self._brokers,
            [one | {"controller": "yes" if one["controller"] else ""} for one in gauges.brokers],
        )
        audit = await self._page.ask(console.reader.audit, 50)
        self._fill(
            self._audit,
            [
                {
                    "time": moment(one["ts"]),
                    "who": shown(one["who"], 40),
                    "action": shown(one["action"], 40),
                    "subject": shown(one["subject"], 160),
                    "outcome": one["outcome"],
                }
                for one in audit
            ],
        )
        await self._say_facts()

    async def _say_facts(self) -> None:
        console = self._page.console
        totals = await self._page.ask(console.reader.totals)
        machine, live = console.gauges.machine, console.live
        oldest = max(console.gauges.oldest_s.values(), default=0.0)
        facts = [
            f"{totals.get('results', 0):,} verdicts",
            f"{totals.get('tickers', 0):,} tickers",
            f"{totals.get('labels', 0):,} labels",
            f"{totals.get('dead', 0):,} dead letters",
            f"oldest unanswered {oldest:.0f} s",
            f"console {live.behind:,} records behind",
        ]
        if machine:
            facts.append(
                f"CPU {machine['cpu_percent']:.0f} % of {machine['cores']} cores, memory "
                f"{machine['memory_percent']:.0f} % of {machine['memory_gib']} GiB"
            )
            facts += [
                f"GPU {one['number']} ({one['name']}): {one['busy_percent']} % busy, "
                f"{one['memory_gib']} of {one['of_gib']} GiB"
                for one in machine["gpus"]
            ]
        if facts == self._seen.get("facts"):
            return
        self._seen["facts"] = facts
        self._facts.clear()
        with self._facts:
            for fact in facts:
                ui.label(fact).classes("hr-chip hr-num")

    def _fill(self, table: ui.table, rows: list[Row]) -> None:
        if table.rows != rows:
            table.rows = rows

    async def _tail(self) -> None:
        role = self._role.value
        if not role:
            return
        text = await self._page.ask(self._page.console.gauges.log_tail, str(role))
        self._log.clear()
        with self._log:
            pre("\n".join((text or "nothing was logged").splitlines()[-60:]))

    async def _operate(self, verb: Verb) -> None:
        role = str(self._role.value or "")
        if not role:
            ui.notify("choose a service", type="warning")
            return
        count = int(self._count.value or 0)
        said = await self._page.change(
            lambda: self._page.console.actions.operate(self._page.actor, verb, role, count),
            quiet=True,
        )
        if isinstance(said, str):
            ui.notify(said, type="positive")


class _Users:
    """Users and tokens, for operators."""

    def __init__(self, page: Page) -> None:
        self._page = page

    def build(self) -> None:
        with ui.card().classes("hr-card"):
            section("Users and tokens")
            self._list = ui.column().classes("w-full gap-2")
            with ui.row().classes("hr-row"):
                self._name = ui.input("Name").props("outlined dense autocomplete=off")
                self._role = (
                    ui.select(list(ROLES), label="Role", value="viewer")
                    .props("outlined dense options-dense")
                    .style("width: 130px")
                )
                self._password = ui.input("Password", password=True).props(
                    "outlined dense autocomplete=new-password"
                )
                button("Add or change the user", self._set)
                button("Make an API token", self._token)
        self._show()

    def _show(self) -> None:
        access = self._page.console.access
        self._list.clear()
        with self._list:
            for kind, found in (("user", access.users()), ("token", access.tokens())):
                for name, role in found.items():

                    async def remove(who: str = name, what: str = kind) -> None:
                        actions, actor = self._page.console.actions, self._page.actor
                        make = actions.remove_user if what == "user" else actions.remove_token
                        await self._page.change(lambda: make(actor, who), f"{what} removed")
                        self._show()

                    with ui.row().classes("hr-row"):
                        ui.label(f"{kind} {shown(name, 64)}, {role}")
                        ui.button("Remove", on_click=remove).props(
                            f'flat dense no-caps color=inherit aria-label="Remove {kind} '
                            f'{shown(name, 64)}"'
                        )

    async def _set(self) -> None:
        role: Role = self._role.value or "viewer"
        await self._page.change(
            lambda: self._page.console.actions.set_user(
                self._page.actor, self._name.value or "", role, self._password.value or ""
            ),
            "done",
        )
        self._password.value = ""
        self._show()

    async def _token(self) -> None:
        role: Role = self._role.value or "viewer"
        secret = await self._page.change(
            lambda: self._page.console.actions.make_token(
                self._page.actor, self._name.value or "", role
            ),
            quiet=True,
        )
        if isinstance(secret, str):
            with ui.dialog(value=True), ui.card().classes("hr-card"):
                ui.label("The token, shown this once:")
                ui.label(secret).classes("hr-mono hr-text")
        self._show()


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.0f} %"
