"""Run one subject until SIGTERM."""

from __future__ import annotations

import logging
import sys

from proof.chaos.subjects import SUBJECTS, at_least_once, laned, shared_consumer, stock_faust
from streams.running import run_service
from streams.settings import Settings


def main(name: str) -> None:
    """Run the subject called `name`."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s %(message)s")
    settings = Settings()
    if name == "lanes":
        run_service(lambda: laned.serve(settings))
    elif name == "at-least-once":
        run_service(lambda: at_least_once.serve(settings))
    elif name in {"shared-consumer", "shared-consumer-discarding"}:
        keep = name == "shared-consumer"
        run_service(lambda: shared_consumer.serve(settings, keep=keep))
    elif name in SUBJECTS:
        stock_faust.run(settings, exactly_once=name == "faust-exactly-once")
    else:
        sys.exit(f"no subject {name!r}; there are {', '.join(SUBJECTS)}")


if __name__ == "__main__":
    main(sys.argv[1])
