"""What is in force for a task, and why a request goes to one version of it."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Literal

from kernel.routing import Route
from schemas.events import ModelVersion


@dataclass(frozen=True, slots=True)
class Served:
    """A route in force, and the versions that it names."""

    route: Route
    versions: dict[str, ModelVersion]
    """The live one, the canary, and those on standby, by name."""
    position: int
    """How far the registry had been read."""

    @property
    def standing(self) -> AbstractSet[str]:
        """Names of the versions on standby."""
        return self.versions.keys() - {self.route.live, self.route.canary}

    @property
    def mark(self) -> str:
        """What a lane's commit keeps of it: `ROUTE@POSITION`."""
        return f"{self.route}@{self.position}"


ChosenBy = Literal["route", "target", "overload", "failure"]


@dataclass(frozen=True, slots=True)
class Choice:
    """Why a request goes to its version."""

    served: Served
    version: str
    by: ChosenBy


def position_of(mark: str) -> int:
    """The registry position in `Served.mark`; 0 where there is none."""
    _, at, position = mark.rpartition("@")
    return int(position) if at and position.isdecimal() else 0
