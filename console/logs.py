"""Logging of services: one line a record, as text for a person or as JSON for a collector.

A line that is about one event names it, and its trace: both are read from the Kafka record
that the line, or the task that logs, is about (`streams.tracing`).
"""

from __future__ import annotations

import logging
import sys
import time
from datetime import UTC, datetime
from typing import Final, Literal

import orjson

from streams import tracing

_QUIET = (
    "aiokafka",
    "asyncio",
    "faust",
    "fsspec",
    "httpx",
    "mode",
    "opentelemetry",
    "transformers",
    "urllib3",
    "uvicorn",
)
_SPARED: Final = "streams.dead_letter"
_LINES_A_SECOND: Final = 10


def configure(service: str, *, form: Literal["text", "json"] = "text", debug: bool = False) -> None:
    """Send the log of this process to standard error.

    Third-party loggers speak from WARNING on, aiokafka from ERROR on: it warns of each
    rebalance and each broker that is away for a moment.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines(service) if form == "json" else TextLines(service))
    handler.addFilter(Sparing())
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


class TextLines(logging.Formatter):
    """ISO time in UTC, level, service, logger, message; then event and trace, if there are."""

    converter = staticmethod(time.gmtime)

    def __init__(self, service: str) -> None:
        super().__init__(
            f"%(asctime)s.%(msecs)03dZ %(levelname)s {service} %(name)s: %(message)s",
            datefmt="%Y-%m-%dT%H:%M:%S",
        )

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  (the name that logging calls)
        """The line, less a traceback."""
        named = "".join(f" {name}={value}" for name, value in about(record).items())
        return super().formatMessage(record) + named


class JsonLines(logging.Formatter):
    """One JSON object a line."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "service": self._service,
            "logger": record.name,
            "message": record.getMessage(),
            **about(record),
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        # A lone surrogate of a feed's text is no Unicode: it must not cost the line.
        clean = {
            name: value.encode("utf-8", "backslashreplace").decode() for name, value in line.items()
        }
        return orjson.dumps(clean).decode()


class Sparing(logging.Filter):
    """Lets a few lines a second through of what a flood of poison would say of each record."""

    def __init__(self) -> None:
        super().__init__()
        self._second = 0
        self._said = 0

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to say the line."""
        if record.name != _SPARED:
            return True
        second = int(record.created)
        if second != self._second:
            unsaid = self._said - _LINES_A_SECOND
            if unsaid > 0:
                record.msg = f"{record.msg} (and {unsaid} more that were not said)"
            self._second, self._said = second, 0
        self._said += 1
        return self._said <= _LINES_A_SECOND


def about(entry: logging.LogRecord) -> dict[str, str]:
    """Event and trace of the Kafka record that a line is about; empty where it is about none."""
    record = getattr(entry, tracing.RECORD, None) or tracing.handled.get()
    if record is None:
        return {}
    found = {"event_id": tracing.event_id(record), "trace_id": tracing.trace_id(record)}
    return {name: value for name, value in found.items() if value}
