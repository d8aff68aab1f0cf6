"""Log-in, the one-time link and log-out: plain HTTP, since a page cannot set an httponly cookie."""

from __future__ import annotations

import asyncio
from html import escape
from typing import Annotated, Final

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from web.access import SESSION_S, Access, AccessError, Actor, TooManyTriesError
from web.gate import ACTOR, COOKIE

_PAGE: Final = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Log in · Headrace</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 16px/1.5 system-ui, sans-serif; margin: 0; min-height: 100vh; display: grid;
  place-items: center; background: light-dark(#eef2f6, #10161d);
  color: light-dark(#14202b, #e6edf3); }}
main {{ width: min(22rem, calc(100vw - 3rem)); padding: 2rem; border-radius: 12px;
  background: light-dark(#fff, #18212b); border: 1px solid light-dark(#d4dde6, #2b3947); }}
h1 {{ font-size: 1.25rem; margin: 0 0 1rem; }}
label {{ display: block; margin: .75rem 0 .25rem; }}
input {{ width: 100%; box-sizing: border-box; font: inherit; padding: .5rem .6rem;
  border-radius: 6px; border: 1px solid light-dark(#6b7d8f, #7d8fa1); background: transparent;
  color: inherit; }}
button {{ margin-top: 1.25rem; width: 100%; font: inherit; font-weight: 600; padding: .6rem;
  border: 0; border-radius: 6px; background: #0b62a8; color: #fff; cursor: pointer; }}
p {{ margin: 0 0 .5rem; min-height: 1.5em; color: light-dark(#a3222a, #ff9a92); }}
small {{ display: block; margin-top: 1rem; color: light-dark(#4a5b6b, #a9b8c6); }}
</style></head><body><main><h1>Headrace</h1><p role="alert">{message}</p>
<form method="post" action="/login"><input type="hidden" name="next" value="{target}">
<label for="name">Name</label>
<input id="name" name="name" autocomplete="username" required maxlength="64" autofocus>
<label for="password">Password</label>
<input id="password" name="password" type="password" autocomplete="current-password" required
 maxlength="256"><button>Log in</button></form>
<small>No password yet? <code>headrace up</code> prints a link that opens the console once.</small>
</main></body></html>"""


def router(access: Access, *, secure: bool = False) -> APIRouter:
    """The routes; `secure` marks the cookie for HTTPS only."""
    routes = APIRouter(include_in_schema=False)

    @routes.get("/login")
    def form(request: Request) -> Response:
        return _form("", request.query_params.get("next", "/"))

    @routes.post("/login")
    async def log_in(
        request: Request,
        name: Annotated[str, Form(max_length=64)],
        password: Annotated[str, Form(max_length=256)],
        next: Annotated[str, Form(max_length=2_000)] = "/",  # noqa: A002
    ) -> Response:
        address = request.client.host if request.client else ""
        try:
            secret = await asyncio.to_thread(access.log_in, name, password, address)
        except TooManyTriesError as error:
            answer = _form(str(error), next, 429)
            answer.headers["retry-after"] = str(error.retry_s)
            return answer
        except AccessError as error:
            return _form(str(error), next, 401)
        return _enter(secret, next)

    @routes.get("/open")
    def open_once(token: str = "") -> Response:
        try:
            return _enter(access.accept(token), "/")
        except AccessError as error:
            return _form(str(error), "/", 403)

    @routes.post("/logout")
    def log_out(request: Request) -> Response:
        actor: Actor | None = request.scope[ACTOR]
        if actor is not None:
            access.log_out(actor.session)
        answer = Response(status_code=204)
        answer.delete_cookie(COOKIE, path="/")
        return answer

    def _enter(secret: str, target: str) -> Response:
        answer = RedirectResponse(own_path(target), 303)
        answer.set_cookie(
            COOKIE,
            secret,
            max_age=SESSION_S,
            httponly=True,
            # Not strict: a link to a ticker from a message must find its reader logged in. What
            # changes anything needs the CSRF token besides.
            samesite="lax",
            secure=secure,
            path="/",
        )
        return answer

    return routes


def own_path(target: str) -> str:
    """`target` where it is a path of this console, else the live page."""
    plain = target.startswith("/") and not target.startswith(("//", "/\\"))
    return target if plain and target.isprintable() and target.isascii() else "/"


def _form(message: str, target: str, code: int = 200) -> HTMLResponse:
    page = _PAGE.format(message=escape(message), target=escape(own_path(target), quote=True))
    return HTMLResponse(page, code)
