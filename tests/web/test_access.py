"""Passwords, sessions, tokens and the one-time link."""

from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path

import pytest

from streams.broker_folder import free_port
from streams.settings import Settings
from tests.support.command import environment
from web.access import Access, AccessError, TooManyTriesError, may_listen
from web.address import ListenError, link, listen

PASSWORD = "correct horse battery"  # noqa: S105  (of nobody)


@pytest.fixture
def access(tmp_path: Path) -> Access:
    return Access(tmp_path / "console")


def test_a_one_time_link_opens_once_as_operator(access: Access) -> None:
    secret = access.invite()
    actor = access.session(access.accept(secret))
    assert actor is not None
    assert actor.role == "operator"
    with pytest.raises(AccessError, match="used before"):
        access.accept(secret)
    with pytest.raises(AccessError):
        access.accept("made up")


def test_a_password_opens_a_session_and_only_hashes_are_kept(
    access: Access, tmp_path: Path
) -> None:
    access.set_user("ada", "labeller", PASSWORD)
    session = access.log_in("ada", PASSWORD, "here")
    actor = access.session(session)
    assert actor is not None
    assert (actor.name, actor.role) == ("ada", "labeller")
    kept = tmp_path / "console" / "users.json"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    content = kept.read_text()
    assert PASSWORD not in content
    assert session not in content
    assert "$argon2id$" in content
    access.log_out(actor.session)
    assert access.session(session) is None


def test_a_wrong_password_and_an_unknown_user_are_told_apart_by_nobody(access: Access) -> None:
    access.set_user("ada", "viewer", PASSWORD)
    for name in ("ada", "nobody"):
        with pytest.raises(AccessError, match=r"^name or password is wrong$"):
            access.log_in(name, "wrong password", "here")


def test_the_sixth_failed_log_in_waits_even_with_the_right_password(access: Access) -> None:
    access.set_user("ada", "viewer", PASSWORD)
    for _ in range(5):
        with pytest.raises(AccessError):
            access.log_in("ada", "wrong password", "here")
    with pytest.raises(TooManyTriesError) as refused:
        access.log_in("ada", PASSWORD, "elsewhere")
    assert 0 < refused.value.retry_s <= 301


def test_a_new_password_ends_the_sessions_of_before(access: Access) -> None:
    access.set_user("root", "operator", PASSWORD)
    session = access.log_in("root", PASSWORD, "here")
    access.set_user("root", "operator", PASSWORD + "!")
    assert access.session(session) is None


def test_somebody_always_stays_operator(access: Access) -> None:
    access.set_user("root", "operator", PASSWORD)
    with pytest.raises(AccessError, match="add another one first"):
        access.set_user("root", "viewer", PASSWORD)
    with pytest.raises(AccessError, match="add another one first"):
        access.remove_user("root")


def test_a_token_opens_until_it_is_removed_or_made_anew(access: Access) -> None:
    first = access.make_token("script", "viewer")
    second = access.make_token("script", "labeller")
    assert access.token(first) is None
    found = access.token(second)
    assert found is not None
    assert found.role == "labeller"
    access.remove_token("script")
    assert access.token(second) is None
    assert access.token("") is None


def test_another_process_sees_what_this_one_wrote(access: Access, tmp_path: Path) -> None:
    secret = access.make_token("script", "viewer")
    assert Access(tmp_path / "console").token(secret) is not None


@pytest.mark.parametrize("password", ["short", "x" * 300])
def test_a_password_that_is_too_short_or_absurd_is_refused(access: Access, password: str) -> None:
    with pytest.raises(AccessError, match="10 to 256"):
        access.set_user("ada", "operator", password)


def test_an_address_that_others_reach_needs_a_password_first(access: Access) -> None:
    may_listen(access, "127.0.0.1")
    with pytest.raises(AccessError, match="headrace console user"):
        may_listen(access, "0.0.0.0")  # noqa: S104  (that it is refused is the point)
    access.set_user("root", "operator", PASSWORD)
    may_listen(access, "0.0.0.0")  # noqa: S104


def test_the_link_is_a_one_time_link_only_while_nobody_has_a_password(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path, console_port=8499)
    assert link(settings).startswith("http://127.0.0.1:8499/open?token=")
    Access(tmp_path / "console").set_user("root", "operator", PASSWORD)
    assert link(settings) == "http://127.0.0.1:8499/"


def test_a_port_that_is_taken_is_said_with_what_to_do(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path)
    with listen(Settings(data=tmp_path, console_port=free_port())) as held:
        taken = settings.model_copy(update={"console_port": held.getsockname()[1]})
        held.listen()
        with pytest.raises(ListenError, match="--console-port"):
            listen(taken)


def test_processes_that_change_the_book_at_once_lose_nothing_of_each_other(tmp_path: Path) -> None:
    program = (
        "import pathlib, sys\n"
        "from web.access import Access\n"
        "access = Access(pathlib.Path(sys.argv[1]))\n"
        "for number in range(20):\n"
        "    access.make_token(f'{sys.argv[2]}-{number}', 'viewer')\n"
    )
    running = [
        subprocess.Popen(  # noqa: S603  (our own program)
            [sys.executable, "-c", program, str(tmp_path), name], env=environment()
        )
        for name in ("one", "two", "three")
    ]
    assert [process.wait(60) for process in running] == [0, 0, 0]
    assert len(Access(tmp_path).tokens()) == 60
