"""Which driver answers a request: the registry's route, with its versions loaded.

A route is put in force when its versions are loaded, all at once and beside the former ones.
Requests already given to a driver are still scored by it, so nothing waits and nothing is lost.
Within a lane versions are chosen in offset order, so the versions of one key never flip back
within a partition; a lane's commit says how far the registry had been read, and the next owner
reads at least that far first.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from kernel import registry
from kernel.artefact import ArtefactError
from kernel.drivers.base import Driver, DriverError
from kernel.loading import Loaded, Pool
from kernel.registry import Registry
from kernel.routing import Route, Servable, cheapest, select
from kernel.served import Choice, Served, position_of
from schemas.events import KernelRequest, ModelState, ModelVersion
from schemas.tasks import TASKS
from streams.settings import Settings
from streams.together import together

log = logging.getLogger(__name__)

RETRY_S: Final = 5.0
"""Pause before a version that could not be loaded is tried again: a store may come back."""
CATCH_UP_S: Final = 30.0
"""How long a new owner waits for what the lane's last owner had read of the registry."""


AHEAD: Final[tuple[ModelState, ...]] = ("shadow", "canary", "standby", "candidate")
"""States in which a version is loaded beside those that answer."""
_MOST_AHEAD: Final = 2
"""Versions of one task and state that are loaded before they are needed, the newest ones."""


class Models:
    """What is in force by task; `overloaded` says whether requests may be degraded."""

    def __init__(self, settings: Settings, overloaded: Callable[[], bool] = lambda: False) -> None:
        self._pool = Pool(settings)
        self._settings = settings
        self._overloaded = overloaded
        self._registry = Registry()
        self._served: dict[str, Served] = {}
        self._shadows: dict[str, ModelVersion] = {}
        """The newest version in shadow, by task."""
        self._choices: dict[int, Choice] = {}
        """Of requests that are in work, by identity."""
        self._spared: set[int] = set()
        """Requests that the canary failed on, by identity."""
        self._applied = -1
        """How far the registry was read and put in force, or tried in vain."""
        self._changed = asyncio.Condition()
        self._stale = asyncio.Event()
        self._waiting = 0

    @property
    def waiting(self) -> bool:
        """Whether a request or a lane waits for a version that is not loaded yet."""
        return self._waiting > 0

    def knows(self, task: str) -> bool:
        """Whether `task` is one that a model answers, or will once it is trained."""
        return (
            task in self._served
            or (task in TASKS and TASKS[task].awaited)
            or task in self._registry.tasks()
        )

    def driver_for(self, request: KernelRequest) -> Driver | None:
        """The driver that answers a request; None while none is loaded for it."""
        choice = self._choose(request)
        if choice is None:
            return None
        loaded = self._pool.get(choice.served.versions[choice.version])
        if loaded is None:
            return None
        self._choices[id(request)] = choice
        return loaded.driver

    async def wait_for(self, request: KernelRequest) -> Driver:
        """The driver that answers a request, waiting until one is loaded."""
        with self._waits():
            return await self._wait_for(request)

    async def _wait_for(self, request: KernelRequest) -> Driver:
        while True:
            async with self._changed:
                await self._changed.wait_for(lambda: request.task in self._served)
            choice = self._choose(request)
            if choice is None:  # pragma: no cover  (what is in force stays)
                continue
            try:
                loaded = await self._pool.load(choice.served.versions[choice.version])
            except (ArtefactError, DriverError) as error:
                # It was loaded once, had to leave, and its store is away now.
                log.error("%s is not served: %s", request.task, error)  # noqa: TRY400
                await asyncio.sleep(RETRY_S)
                continue
            self._choices[id(request)] = choice
            return loaded.driver

    def settle(self, request: KernelRequest) -> Choice | None:
        """Why the request went to its version, asked once when it is answered or given up."""
        self._spared.discard(id(request))
        return self._choices.pop(id(request), None)

    def spare(self, request: KernelRequest) -> None:
        """The canary failed on it: the live version answers when it is asked for again."""
        self._spared.add(id(request))

    def trial(
        self, choice: Choice, answered_by: str, *, failed: bool = False
    ) -> tuple[Loaded, Loaded] | None:
        """Who answered, and who is to be heard besides; None where nothing loaded is on trial.

        To the canary the live one, to the live one the shadow, or the canary where it failed.
        """
        route = choice.served.route
        other: ModelVersion | None = None
        if answered_by == route.canary:
            other = choice.served.versions[route.live]
        elif failed:
            other = choice.served.versions.get(route.canary)
        elif answered_by == route.live:
            other = self._shadows.get(choice.served.versions[route.live].task)
        if other is None:
            return None
        by, aside = self._pool.peek(choice.served.versions[answered_by]), self._pool.peek(other)
        return (by, aside) if by is not None and aside is not None else None

    async def wait_until_seen(self, marks: Mapping[str, str]) -> None:
        """Return when what these marks say, by task, was read and put in force here.

        A registry that was made anew is waited for in vain, and so is a version that this
        kernel cannot load while another could; after `CATCH_UP_S` it goes on and says so.
        """
        position = max(map(position_of, marks.values()), default=0)

        def seen() -> bool:
            return self._applied >= position and not any(
                self._lacks(task, mark) for task, mark in marks.items()
            )

        try:
            with self._waits():
                async with asyncio.timeout(CATCH_UP_S), self._changed:
                    await self._changed.wait_for(seen)
        except TimeoutError:
            log.warning(
                "going on without what answered last here (%s): the registry was read to %d, and "
                "in force is %s",
                dict(marks),
                self._applied,
                {task: str(served.route) for task, served in self._served.items()},
            )

    def _lacks(self, task: str, mark: str) -> bool:
        """Whether the route of a mark still holds, and is not in force here."""
        route, served = self._registry.route(task), self._served.get(task)
        return (
            route is not None
            and mark == f"{route}@{position_of(mark)}"
            and (served is None or served.route != route)
        )

    @contextmanager
    def _waits(self) -> Iterator[None]:
        self._waiting += 1
        try:
            yield
        finally:
            self._waiting -= 1

    async def follow(self) -> None:
        """Read the registry and put in force what it says, until cancelled."""
        await together(self._follow_registry(), self._keep_in_force())

    async def _follow_registry(self) -> None:
        async for known in registry.states(self._settings, follow=True):
            self._registry = known
            self._stale.set()

    async def _keep_in_force(self) -> None:
        while True:
            await self._stale.wait()
            self._stale.clear()
            position = self._registry.position
            done = [await self._put_in_force(task) for task in self._registry.tasks()]
            async with self._changed:
                self._applied = position
                self._changed.notify_all()
            self._shadows = {
                one.task: one for one in self._registry.versions.values() if one.state == "shadow"
            }
            done += [await self._load_ahead(task) for task in self._registry.tasks()]
            self._pool.keep_only(self._of_use())
            if not all(done):
                asyncio.get_running_loop().call_later(RETRY_S, self._stale.set)

    async def _put_in_force(self, task: str) -> bool:
        """Load what the route names, and serve it; what cannot be loaded is not served."""
        position = self._registry.position
        route, live = self._registry.route(task), self._registry.live(task)
        if route is None or live is None:
            return True
        standing = {one.version: one for one in self._registry.in_state(task, "standby")}
        before = self._served.get(task)
        if before is not None and before.route == route and before.standing == standing.keys():
            return True
        if (before is None or before.route.live != live.version) and not await self._try(live):
            return False
        versions = {**standing, live.version: live}
        complete = True
        canary = self._registry.canary(task)
        if canary is not None:
            if await self._try(canary):
                versions[canary.version] = canary
            else:
                route, complete = Route(route.live), False
        async with self._changed:
            self._served[task] = Served(route, versions, position)
            self._changed.notify_all()
        log.info("%s is answered by %s", task, route)
        return complete

    def _of_use(self) -> list[ModelVersion]:
        """What answers, what may answer next, and what a rollback would bring back."""
        found = [one for served in self._served.values() for one in served.versions.values()]
        for task in self._registry.tasks():
            found += self._registry.in_state(task, "retired")[-1:]
            for state in AHEAD:
                found += self._registry.in_state(task, state)[-_MOST_AHEAD:]
        return found

    async def _load_ahead(self, task: str) -> bool:
        """Load what may answer soon, or is asked aside."""
        done = True
        for state in AHEAD:
            for version in self._registry.in_state(task, state)[-_MOST_AHEAD:]:
                loaded = await self._try(version, ahead=True)
                done &= loaded or state == "candidate"  # nothing waits for that
        return done

    async def _try(self, version: ModelVersion, *, ahead: bool = False) -> bool:
        try:
            await (self._pool.load_ahead(version) if ahead else self._pool.load(version))
        except (ArtefactError, DriverError) as error:
            log.error("%s %s is not served: %s", version.task, version.version, error)  # noqa: TRY400
            return False
        return True

    def _choose(self, request: KernelRequest) -> Choice | None:
        served = self._served.get(request.task)
        if served is None:
            return None
        if id(request) in self._spared:
            return Choice(served, served.route.live, "failure")
        choice = Choice(served, served.route.choose(request.thread), "route")
        if request.prefer is None and not request.may_degrade:
            return choice
        measured = self._measured(served)
        if request.prefer is not None and measured:
            choice = Choice(served, select(measured, request.prefer).version, "target")
        if request.may_degrade and measured and self._overloaded():
            least = cheapest(measured).version
            if least != choice.version:
                choice = Choice(served, least, "overload")
        return choice

    def _measured(self, served: Served) -> list[Servable]:
        """The live version and those on standby, as far as they are loaded."""
        return [
            Servable(name, one.metrics.get("accuracy", 0.0), loaded.cost_ms)
            for name, one in served.versions.items()
            if name != served.route.canary and (loaded := self._pool.peek(one)) is not None
        ]
