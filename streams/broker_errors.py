"""What can keep the embedded broker from running."""

from __future__ import annotations


class BrokerError(RuntimeError):
    """The embedded broker cannot start or go on; the message says what to do about it."""
