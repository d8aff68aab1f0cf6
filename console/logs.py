"""Logging of services: one line a record, ISO time in UTC, level, service, message."""

from __future__ import annotations

import logging
import sys
import time

_QUIET = (
    "aiokafka",
    "asyncio",
    "faust",
    "fsspec",
    "httpx",
    "mode",
    "transformers",
    "urllib3",
    "uvicorn",
)


def configure(service: str, *, debug: bool = False) -> None:
    """Send the log of this process to standard error.

    Third-party loggers speak from WARNING on, aiokafka from ERROR on: it warns of each
    rebalance and each broker that is away for a moment.
    """
    formatter = logging.Formatter(
        f"%(asctime)s.%(msecs)03dZ %(levelname)s {service} %(name)s: %(message)s",
        datefmt="%Y-%m-%dT%H:%M:%S",
    )
    formatter.converter = time.gmtime
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.DEBUG if debug else logging.INFO)
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.INFO if debug else logging.WARNING)
    if not debug:
        logging.getLogger("aiokafka").setLevel(logging.ERROR)


def silence(*, debug: bool) -> None:
    """For commands: they say what matters themselves."""
    if debug:
        configure("console", debug=True)
    else:
        logging.getLogger().addHandler(logging.NullHandler())
        logging.getLogger().setLevel(logging.CRITICAL + 1)
