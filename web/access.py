"""Who may do what: users, passwords, sessions, tokens and the one-time link.

Passwords are hashed with argon2id. Sessions, tokens and the link are random, 256 bits, and
only their SHA-256 is kept. Everything lies in one file that nobody else may read.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import msgspec
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from streams.settings import Settings

Role = Literal["viewer", "labeller", "operator"]
ROLES: Final[tuple[Role, ...]] = ("viewer", "labeller", "operator")
"""Each may do what the ones before it may."""

SESSION_S: Final = 12 * 3600
INVITATION_S: Final = 24 * 3600
OWNER: Final = "owner"
"""Who the one-time link logs in."""
MIN_PASSWORD: Final = 10
MAX_PASSWORD: Final = 256
_TRIES: Final = 5
_WINDOW_S: Final = 300.0
_MAX_SESSIONS: Final = 1_000
_LOOPBACK: Final = {"127.0.0.1", "::1", "localhost"}


class AccessError(Exception):
    """A log-in, or a change of users, that is refused; the message says why."""


class TooManyTriesError(AccessError):
    """Too many failed log-ins; `retry_s` says how long to wait."""

    def __init__(self, retry_s: int) -> None:
        super().__init__(f"too many failed log-ins; try again in {retry_s} s")
        self.retry_s = retry_s


@dataclass(frozen=True, slots=True)
class Actor:
    """Who asks: a user by session, or a program by token."""

    name: str
    role: Role
    csrf: str = ""
    """What a change by session cookie must repeat in a header; empty for tokens."""
    session: str = ""
    """Digest of the session; empty for tokens."""

    def may(self, role: Role) -> bool:
        """Whether the actor's role includes `role`."""
        return ROLES.index(self.role) >= ROLES.index(role)


class User(msgspec.Struct, kw_only=True):
    """A person; without a password only the one-time link lets in."""

    role: Role
    password: str = ""


class Token(msgspec.Struct, kw_only=True):
    """A program's right."""

    name: str
    role: Role
    created_at: float


class Session(msgspec.Struct, kw_only=True):
    """A browser that is logged in."""

    user: str
    csrf: str
    expires_at: float


class _Book(msgspec.Struct, kw_only=True):
    users: dict[str, User] = {}
    tokens: dict[str, Token] = {}
    sessions: dict[str, Session] = {}
    invitation: tuple[str, float] | None = None


class Access:
    """The book of one data folder; every question reads the file anew where it changed."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "users.json"
        self._lock = threading.RLock()
        self._held: tuple[tuple[int, int], _Book] | None = None
        self._hasher = PasswordHasher()
        self._nobody = self._hasher.hash(secrets.token_hex(16))
        self._failures: dict[str, list[float]] = {}

    def has_password(self) -> bool:
        """Whether anybody can log in with a password."""
        return any(user.password for user in self._book().users.values())

    def invite(self) -> str:
        """The secret of a new one-time link; earlier links end."""
        secret = secrets.token_urlsafe(32)
        with self._changing() as book:
            book.invitation = (_digest(secret), time.time() + INVITATION_S)
            self._store(book)
        return secret

    def accept(self, secret: str) -> str:
        """Use the one-time link: the secret of a session as operator.

        Raises:
            AccessError: it was used, is too old, or never was one.
        """
        with self._changing() as book:
            held = book.invitation
            if held is None or held[1] < time.time() or not _same(held[0], secret):
                raise AccessError(
                    "this link was used before or is too old; `headrace up` prints a new one"
                )
            book.invitation = None
            book.users.setdefault(OWNER, User(role="operator"))
            return self._open_session(book, OWNER)

    def log_in(self, name: str, password: str, address: str) -> str:
        """The secret of a new session. Takes a tenth of a second of computing: call in a thread.

        Raises:
            TooManyTriesError: this address, or this user, failed too often.
            AccessError: name or password is wrong.
        """
        keys = (f"address:{address}", f"user:{name}")
        self._check_rate(keys)
        user = self._book().users.get(name)
        known = user.password if user is not None and user.password else self._nobody
        try:
            self._hasher.verify(known, password[:MAX_PASSWORD])
            right = user is not None and bool(user.password)
        except (VerificationError, InvalidHashError):
            right = False
        if not right:
            self._count_failure(keys)
            raise AccessError("name or password is wrong")
        with self._changing() as book:
            self._failures.pop(keys[1], None)
            return self._open_session(book, name)

    def session(self, secret: str) -> Actor | None:
        """Who a session's secret belongs to; None where it is unknown or expired."""
        return self.by_digest(_digest(secret)) if secret else None

    def by_digest(self, digest: str) -> Actor | None:
        """Who a session belongs to now, by its digest: an open page asks at each change."""
        book = self._book()
        found = book.sessions.get(digest)
        if found is None or found.expires_at < time.time():
            return None
        user = book.users.get(found.user)
        return None if user is None else Actor(found.user, user.role, found.csrf, digest)

    def log_out(self, digest: str) -> None:
        """End a session."""
        with self._changing() as book:
            if book.sessions.pop(digest, None) is not None:
                self._store(book)

    def token(self, secret: str) -> Actor | None:
        """Who an API token belongs to."""
        found = self._book().tokens.get(_digest(secret)) if secret else None
        return None if found is None else Actor(found.name, found.role)

    def users(self) -> dict[str, Role]:
        """Every user and role."""
        return {name: user.role for name, user in self._book().users.items()}

    def tokens(self) -> dict[str, Role]:
        """Every token's name and role."""
        return {token.name: token.role for token in self._book().tokens.values()}

    def set_user(self, name: str, role: Role, password: str) -> None:
        """Add a user, or change role and password; the user's sessions end.

        Raises:
            AccessError: the name or the password will not do.
        """
        if not (0 < len(name) <= 64 and name.isprintable() and name == name.strip()):
            raise AccessError("a user's name is 1 to 64 printable characters")
        if not MIN_PASSWORD <= len(password) <= MAX_PASSWORD:
            raise AccessError(f"a password has {MIN_PASSWORD} to {MAX_PASSWORD} characters")
        hashed = self._hasher.hash(password)
        with self._changing() as book:
            others = [user.role for other, user in book.users.items() if other != name]
            if book.users and role != "operator" and "operator" not in others:
                raise AccessError("somebody must stay operator: add another one first")
            book.users[name] = User(role=role, password=hashed)
            _drop_sessions(book, name)
            self._store(book)

    def remove_user(self, name: str) -> None:
        """Forget a user; the sessions end.

        Raises:
            AccessError: there is no such user, or it is the last operator.
        """
        with self._changing() as book:
            if name not in book.users:
                raise AccessError(f"no user {name!r}")
            others = [user for other, user in book.users.items() if other != name]
            if not any(user.role == "operator" for user in others):
                raise AccessError("the last operator stays: add another one first")
            del book.users[name]
            _drop_sessions(book, name)
            self._store(book)

    def make_token(self, name: str, role: Role) -> str:
        """A new API token; it is shown once. A token of the same name ends.

        Raises:
            AccessError: the name will not do.
        """
        if not (0 < len(name) <= 64 and name.isprintable()):
            raise AccessError("a token's name is 1 to 64 printable characters")
        secret = f"hr_{secrets.token_urlsafe(32)}"
        with self._changing() as book:
            _drop_token(book, name)
            book.tokens[_digest(secret)] = Token(name=name, role=role, created_at=time.time())
            self._store(book)
        return secret

    def remove_token(self, name: str) -> None:
        """End a token.

        Raises:
            AccessError: there is none of this name.
        """
        with self._changing() as book:
            if not _drop_token(book, name):
                raise AccessError(f"no token {name!r}")
            self._store(book)

    def _open_session(self, book: _Book, name: str) -> str:
        secret, now = secrets.token_urlsafe(32), time.time()
        book.sessions = {
            digest: one for digest, one in book.sessions.items() if one.expires_at > now
        }
        while len(book.sessions) >= _MAX_SESSIONS:
            book.sessions.pop(next(iter(book.sessions)))
        book.sessions[_digest(secret)] = Session(
            user=name, csrf=secrets.token_urlsafe(32), expires_at=now + SESSION_S
        )
        self._store(book)
        return secret

    def _check_rate(self, keys: tuple[str, ...]) -> None:
        now = time.monotonic()
        with self._lock:
            for key in keys:
                recent = [at for at in self._failures.get(key, []) if now - at < _WINDOW_S]
                if len(recent) >= _TRIES:
                    raise TooManyTriesError(round(_WINDOW_S - (now - recent[-_TRIES])) + 1)

    def _count_failure(self, keys: tuple[str, ...]) -> None:
        now = time.monotonic()
        with self._lock:
            if len(self._failures) > 10_000:
                self._failures.clear()
            for key in keys:
                self._failures[key] = [*self._failures.get(key, [])[-_TRIES:], now]

    @contextmanager
    def _changing(self) -> Iterator[_Book]:
        """The book as it is now, while no thread and no process but this one may change it."""
        with self._lock:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            lock = self._path.with_name(f".{self._path.name}.lock")
            with os.fdopen(os.open(lock, os.O_RDWR | os.O_CREAT, 0o600), "rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                self._held = None
                try:
                    yield self._book()
                finally:
                    self._held = None  # what was refused half-way must not be answered from

    def _book(self) -> _Book:
        with self._lock:
            try:
                status = self._path.stat()
            except FileNotFoundError:
                return _Book()
            stamp = (status.st_mtime_ns, status.st_ino)
            if self._held is None or self._held[0] != stamp:
                self._held = stamp, msgspec.json.decode(self._path.read_bytes(), type=_Book)
            return self._held[1]

    def _store(self, book: _Book) -> None:
        part = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(msgspec.json.encode(book))
        part.replace(self._path)
        self._held = None


def folder(settings: Settings) -> Path:
    """Where the console keeps its users and its index."""
    return settings.data.absolute() / "console"


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    return host in _LOOPBACK or host.startswith("127.")


def may_listen(access: Access, host: str) -> None:
    """Refuse an address that others reach before anybody has a password.

    Raises:
        AccessError: with what to do.
    """
    if not is_loopback(host) and not access.has_password():
        raise AccessError(
            f"the web console does not listen on {host} before somebody has a password: "
            "set one with `headrace console user NAME`, or leave the address at 127.0.0.1"
        )


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _same(digest: str, secret: str) -> bool:
    return secrets.compare_digest(digest, _digest(secret))


def _drop_sessions(book: _Book, name: str) -> None:
    book.sessions = {digest: one for digest, one in book.sessions.items() if one.user != name}


def _drop_token(book: _Book, name: str) -> bool:
    before = len(book.tokens)
    book.tokens = {digest: one for digest, one in book.tokens.items() if one.name != name}
    return len(book.tokens) < before
