"""The jars of Apache Kafka: fetched once by jgo, kept whole, found again without a network.

jgo writes a download in place and takes whatever lies in its cache for complete, so a first
start that is interrupted would spoil every later one. Here it fetches into a folder of its own
that gets its name only once everything is in it.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from streams.broker_errors import BrokerError

KAFKA: Final = "4.2.2"
"""Not 4.3.0 to 4.4.0: they skip the markers of transactions whose partitions have no leader for a
moment, and say that they are complete (KAFKA-20734, docs/delivery.md)."""
_ENDPOINT: Final = f"org.apache.kafka:kafka_2.13:{KAFKA}+org.slf4j:slf4j-simple:1.7.36"
_SHA256: Final = "0b3f32562361b6b5541aac45f6e96939c6d9a615723e6b3e0b01d2aaba95e71c"
"""Over the lines `name sha256` of all jars, in order: what was tested is what runs."""
_NAMES: Final = "class-path"


def class_path(say: Callable[[str], None]) -> str:
    """Class path of Kafka's command-line classes; blocks while jars are fetched (44 MB, once).

    They lie in jgo's cache folder (`JGO_CACHE_DIR`, else `~/.cache/jgo`). Raises BrokerError
    where they are not there and cannot be had from Maven Central.
    """
    home = jars_folder()
    found = _jars(home)
    if found is None:
        try:
            with alone():
                found = _jars(home) or _fetch(home, say)
        except Exception as error:  # jgo has no error type of its own
            raise BrokerError(
                f"The jars of Apache Kafka {KAFKA} are not on this machine and could not be "
                f"fetched from Maven Central: {error or type(error).__name__}. Connect to the "
                f"internet (or set HTTPS_PROXY) for the first start, copy {home} from a machine "
                "that has it, or use a cluster of your own with --bootstrap HOST:PORT."
            ) from error
    return os.pathsep.join(str(jar) for jar in found)


def jars_folder() -> Path:
    """Where they lie."""
    cache = Path(os.environ.get("JGO_CACHE_DIR") or Path.home() / ".cache" / "jgo")
    return cache.absolute() / "headrace" / f"kafka-{KAFKA}"


def _jars(home: Path) -> list[Path] | None:
    """The jars that a finished fetch listed; None where one of them is missing."""
    try:
        jars = [home / name for name in (home / _NAMES).read_text().split()]
    except OSError:
        return None
    return jars if jars and all(jar.is_file() for jar in jars) else None


def _fetch(home: Path, say: Callable[[str], None]) -> list[Path]:
    # Imported here: half a second that only the first start spends.
    from jgo.constants import MAVEN_CENTRAL_URL  # noqa: PLC0415
    from jgo.env import EnvironmentBuilder, LinkStrategy  # noqa: PLC0415
    from jgo.maven import MavenContext  # noqa: PLC0415

    say(f"fetching Apache Kafka {KAFKA} (44 MB, once)")
    part = home.with_name(f"{home.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    whole = part / "whole"
    whole.mkdir(parents=True)
    try:
        environment = EnvironmentBuilder(
            context=MavenContext(
                repo_cache=part / "m2", remote_repos={"central": MAVEN_CENTRAL_URL}
            ),
            cache_dir=part / "jgo",
            link_strategy=LinkStrategy.AUTO,
        ).from_endpoint(_ENDPOINT)
        names = [jar.name for jar in environment.all_jars]
        for jar in environment.all_jars:
            jar.replace(whole / jar.name)
        if _digest(whole) != _SHA256:  # jgo itself only warns
            raise ValueError("what came is not what was published (SHA-256)")
        (whole / _NAMES).write_text("\n".join(names))
        shutil.rmtree(home, ignore_errors=True)
        whole.rename(home)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return [home / name for name in names]


def _digest(folder: Path) -> str:
    lines = (
        f"{jar.name} {hashlib.sha256(jar.read_bytes()).hexdigest()}\n"
        for jar in sorted(folder.glob("*.jar"), key=lambda jar: jar.name)
    )
    return hashlib.sha256("".join(lines).encode()).hexdigest()


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Nobody else makes anything in the cache meanwhile; blocks until that is so."""
    folder = jars_folder().parent
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
