"""The agents by name, and how one of them runs as a process."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from streams.running import run_service
from streams.settings import Settings

if TYPE_CHECKING:
    from agents.runtime import Agent

_REGISTRY: Final = {
    "finance.reader": "agents.finance.reader:Reader",
    "finance.trends": "agents.finance.trends:Trends",
    "finance.alerts": "agents.finance.alerts:Alerts",
}
NAMES: Final = tuple(_REGISTRY)
"""Every agent that there is; to know them costs no import of Faust."""


def load(settings: Settings, name: str) -> Agent[Any, Any]:
    """The agent called `name`.

    Raises:
        KeyError: there is none of that name.
        OSError, ValueError: a file that the agent needs cannot be read.
    """
    if name not in _REGISTRY:
        msg = f"no agent {name!r}; there are {', '.join(NAMES)}"
        raise KeyError(msg)
    module, _, found = _REGISTRY[name].partition(":")
    agent: Agent[Any, Any] = getattr(import_module(module), found).create(settings)
    return agent


def run(settings: Settings, name: str) -> None:
    """Run the agent `name` in this process until SIGTERM."""
    agent = load(settings, name)

    async def main() -> None:
        # Faust takes a second to import: by now SIGTERM already ends us cleanly.
        from agents.runtime.worker import serve  # noqa: PLC0415

        await serve(settings, agent)

    run_service(main)
