"""The jars of Apache Kafka: fetched once by jgo, then found in its cache without a network."""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from streams.broker_errors import BrokerError

KAFKA: Final = "4.3.1"
_ENDPOINT: Final = f"org.apache.kafka:kafka_2.13:{KAFKA}+org.slf4j:slf4j-simple:1.7.36"
_PATIENCE_S: Final = 0.5


def class_path(say: Callable[[str], None]) -> str:
    """Class path of Kafka's command-line classes; blocks while jars are fetched (44 MB, once).

    Raises BrokerError where they are neither in jgo's cache (`JGO_CACHE_DIR`, `M2_REPO`) nor
    to be had from Maven Central.
    """
    telling = threading.Timer(_PATIENCE_S, say, [f"fetching Apache Kafka {KAFKA} (44 MB, once)"])
    telling.daemon = True
    telling.start()
    try:
        # Two first starts at once must not write the same files.
        with _alone():
            environment = _build(update=False)
            if not _whole(environment):
                environment = _build(update=True)
    except Exception as error:
        raise BrokerError(
            f"The jars of Apache Kafka {KAFKA} are not on this machine and could not be fetched "
            f"from Maven Central: {error or type(error).__name__}. Connect to the internet (or "
            "set HTTPS_PROXY) for the first start, copy ~/.cache/jgo and ~/.m2 from a machine "
            "that has them, or use a cluster of your own with --bootstrap HOST:PORT."
        ) from error
    finally:
        telling.cancel()
    return os.pathsep.join(str(jar) for jar in environment.all_jars)


def _build(*, update: bool) -> Any:
    # Imported here: half a second that a process with a cluster of its own need not spend.
    import jgo  # noqa: PLC0415

    return jgo.build(_ENDPOINT, update=update)


def _whole(environment: Any) -> bool:
    """Whether every jar that the environment's lock file names is there."""
    names = {jar.name for jar in environment.all_jars}
    return environment.lockfile is not None and all(
        f"{part.artifactId}-{part.version}.jar" in names
        for part in environment.lockfile.dependencies
    )


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    from jgo.config import GlobalSettings  # noqa: PLC0415

    cache = Path(GlobalSettings.load().cache_dir)
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "headrace.lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
