"""The gate before every page and every call: who asks, from where, and may a change pass.

Written as plain ASGI so that it also stands before the pages' web sockets.
"""

from __future__ import annotations

from http.cookies import SimpleCookie
from typing import Any, Final
from urllib.parse import quote, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from web.access import Access, Actor, is_loopback

COOKIE: Final = "headrace_session"
CSRF_HEADER: Final = "x-csrf-token"
ACTOR: Final = "headrace.actor"
_SAFE: Final = {"GET", "HEAD", "OPTIONS"}
_PUBLIC: Final = ("/login", "/open", "/favicon.ico")
_ASSETS: Final = "/_nicegui/"
_SOCKET: Final = "/_nicegui_ws/"
_API: Final = "/v1/"
_POLICY: Final = "; ".join(
    (
        "default-src 'self'",
        # The page toolkit compiles its templates in the browser, from inline scripts.
        "script-src 'self' 'unsafe-inline' 'unsafe-eval'",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "font-src 'self' data:",
        "connect-src 'self'",
        "worker-src 'self' blob:",
        "object-src 'none'",
        "base-uri 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)
_HEADERS: Final = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}


class Gate:
    """Lets pass who may; puts the `Actor` into the scope under `ACTOR`."""

    def __init__(self, app: ASGIApp, access: Access, host: str) -> None:
        self._app = app
        self._access = access
        self._names = {"127.0.0.1", "localhost", "::1", host} if is_loopback(host) else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer an ASGI connection."""
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        actor, by_cookie = self._who(headers)
        scope[ACTOR] = actor
        refusal = self._refuse(scope, headers, actor, by_cookie=by_cookie)
        if refusal is None:
            await self._app(scope, receive, _with_headers(send, scope))
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008})
        else:
            await refusal(scope, receive, _with_headers(send, scope))

    def _who(self, headers: Headers) -> tuple[Actor | None, bool]:
        given = headers.get("authorization", "")
        kind, _, secret = given.partition(" ")
        if given:
            return (self._access.token(secret.strip()) if kind.lower() == "bearer" else None), False
        return self._access.session(cookie(headers)), True

    def _refuse(
        self, scope: Scope, headers: Headers, actor: Actor | None, *, by_cookie: bool
    ) -> Response | None:
        path = str(scope["path"])
        if not self._knows(headers.get("host", "")):
            return PlainTextResponse("this console does not answer to that host name", 421)
        changes = scope["type"] == "http" and scope["method"] not in _SAFE
        sockets = path.startswith(_SOCKET)
        foreign = by_cookie and (changes or sockets) and not _same_origin(headers)
        if foreign:
            return JSONResponse({"detail": "the request comes from another site"}, 403)
        if path in _PUBLIC or path.startswith(_ASSETS):
            return None
        if actor is None:
            return _unknown(scope, path)
        if changes and by_cookie and not sockets and headers.get(CSRF_HEADER) != actor.csrf:
            return JSONResponse(
                {"detail": f"a change by session needs its token in the header {CSRF_HEADER}"}, 403
            )
        return None

    def _knows(self, host: str) -> bool:
        """Whether the name that the browser used is ours: a foreign name here is rebinding."""
        return self._names is None or (urlsplit(f"//{host}").hostname or "") in self._names


def cookie(headers: Headers) -> str:
    """The session's secret from the request's cookies; empty where there is none."""
    try:
        found = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except Exception:  # noqa: BLE001  (whatever a stranger sends is no session)
        return ""
    return "" if found is None else found.value


def _same_origin(headers: Headers) -> bool:
    origin = headers.get("origin")
    # Browsers name the origin of every change; a program without one has no cookies to steal.
    return origin is None or urlsplit(origin).netloc == headers.get("host", "")


def _unknown(scope: Scope, path: str) -> Response:
    if path.startswith((_API, _SOCKET)) or scope.get("method", "") not in _SAFE:
        return JSONResponse(
            {"detail": "log in, or send an API token: Authorization: Bearer …"},
            401,
            {"www-authenticate": "Bearer"},
        )
    query = scope.get("query_string", b"").decode("latin-1")
    wanted = quote(path + (f"?{query}" if query else ""), safe="")
    return RedirectResponse(f"/login?next={wanted}", 303)


def _with_headers(send: Send, scope: Scope) -> Send:
    asset = str(scope["path"]).startswith(_ASSETS)

    async def sender(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                headers[name] = value
            if not asset:
                headers["cache-control"] = "no-store"
        await send(message)

    return sender


def actor_of(scope: Any) -> Actor:
    """Who asks; the gate has let them pass, so somebody is there."""
    actor: Actor = scope[ACTOR]
    return actor
