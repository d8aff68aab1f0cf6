"""The Dockerfile: the Makefile's own step, a user without rights, and all that it needs."""

from __future__ import annotations

import re
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
# One instruction a line: continuations joined, comments gone.
LINES = [
    line.strip()
    for line in re.sub(r"^#.*$", "", DOCKERFILE, flags=re.MULTILINE)
    .replace("\\\n", " ")
    .splitlines()
    if line.strip()
]
RUNS = [line.removeprefix("RUN ") for line in LINES if line.startswith("RUN ")]


def test_the_project_is_installed_by_the_makefile_alone() -> None:
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    made = [word for run in RUNS for word in re.findall(r"\bmake (\w+)", run)]
    assert set(made) == {"setup"}
    assert "setup" in targets
    for run in RUNS:
        assert not re.search(r"\b(pip|uv|python3?) ", run)


def test_the_first_setup_has_every_file_that_the_target_depends_on() -> None:
    rule = re.search(r"^\$\(CURRENT\): (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert rule is not None
    (copied, *_) = [line for line in LINES if line.startswith("COPY")]
    names = copied.split()
    for name in [*rule[1].split(), "Makefile", PROJECT["project"]["readme"]]:
        assert name in names


def test_every_step_after_the_system_s_is_run_without_rights() -> None:
    user = LINES.index("USER headrace")
    assert LINES.index("RUN make setup") > user
    assert [line for line in LINES if line.startswith("USER")] == ["USER headrace"]
    for line in LINES[user:]:
        if line.startswith("COPY"):
            assert "--chown=headrace" in line


def test_the_base_is_a_slim_python_that_the_project_supports() -> None:
    (base,) = [line for line in LINES if line.startswith("FROM")]
    found = re.fullmatch(r"FROM python:3\.(\d+)-slim", base)
    assert found is not None
    assert int(found[1]) >= int(PROJECT["project"]["requires-python"].removeprefix(">=3."))


def test_the_image_gets_every_package_and_nothing_of_the_developer() -> None:
    rules = [
        line
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line and not line.startswith("#")
    ]
    assert rules[0] == "*"
    sent = {line.removeprefix("!") for line in rules if line.startswith("!")}
    packages = set(PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"])
    assert packages <= sent
    for name in sent:
        assert (ROOT / name).exists(), name
    files = {name for line in LINES if line.startswith("COPY") for name in line.split()[2:-1]}
    assert files - {"."} <= sent
    for name in (".git", ".venv", ".headrace", "tests", "headrace.toml", ".env"):
        assert not any(fnmatch(name, one) for one in sent)


def test_the_folders_of_the_volumes_belong_to_the_user_of_the_image() -> None:
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    places = {
        volume.partition(":")[2]
        for service in compose["services"].values()
        if service.get("build")
        for volume in service["volumes"]
    }
    (made,) = [run for run in RUNS if "install --directory" in run]
    assert places
    assert all(place in made.split() for place in places)


def test_the_image_starts_the_headrace_command() -> None:
    assert 'ENTRYPOINT ["headrace"]' in LINES
    assert "headrace" in PROJECT["project"]["scripts"]
