"""The HTTP API: everything that the pages do. OpenAPI at `/v1/openapi.json`."""

from __future__ import annotations

from typing import Annotated, Any, Final

from aiokafka.errors import KafkaError
from fastapi import APIRouter, FastAPI, Query, Request
from fastapi.responses import JSONResponse, StreamingResponse

from schemas.topics import CATALOGUE
from streams import reading
from web import changes, compatible
from web.access import AccessError
from web.actions import NotAllowed, NotFound, Refused
from web.bodies import Name, Place, plain
from web.console import Console
from web.queries import Filters, Row
from web.sse import Listeners, TooManyListeners
from web.thread import life
from web.verdicts import CatchingUp, TimedOut

Limit = Annotated[int, Query(ge=1, le=500)]
Search = Annotated[str, Query(max_length=1_000)]
Share = Annotated[float, Query(ge=0, le=1)]

_CODES: Final[dict[type[Exception], int]] = {
    NotAllowed: 403,
    NotFound: 404,
    TimedOut: 504,
    CatchingUp: 503,
    TooManyListeners: 503,
    Refused: 422,
    AccessError: 422,
    KafkaError: 503,
    reading.StalledError: 503,
}
_REFUSALS: Final[dict[int | str, dict[str, Any]]] = {
    401: {"description": "No session and no token."},
    403: {"description": "The role does not reach, or the CSRF token is missing."},
    404: {"description": "There is none."},
    422: {"description": "The request is refused; `detail` says why."},
    503: {"description": "The cluster does not answer, or history is still being read."},
    504: {"description": "No answer in time."},
}


def install(app: FastAPI, console: Console) -> None:
    """Add the routes and what becomes of errors."""

    def answer(_: Request, error: Exception) -> JSONResponse:
        code = next(code for kind, code in _CODES.items() if isinstance(error, kind))
        detail = " ".join(str(error).split()) or type(error).__name__
        headers = {"retry-after": "2"} if code == 503 else None
        return JSONResponse({"detail": detail}, code, headers)

    for kind in _CODES:
        app.add_exception_handler(kind, answer)
    app.include_router(_questions(console))
    app.include_router(_present(console))
    app.include_router(changes.router(console, _REFUSALS))
    app.include_router(compatible.router(console, _REFUSALS))


def _questions(console: Console) -> APIRouter:
    """What the index knows."""
    routes = APIRouter(prefix="/v1", responses={401: _REFUSALS[401]})
    reader = console.reader

    @routes.get("/verdicts", summary="Newest verdicts")
    def verdicts(
        ticker: Search = "",
        source: Search = "",
        label: Search = "",
        confidence: Share = 0.0,
        below: Share = 1.0,
        limit: Limit = 100,
    ) -> list[Row]:
        chosen = Filters(
            ticker=ticker, source=source, label=label, confidence=confidence, below=below
        )
        return reader.verdicts(chosen, limit)

    @routes.get("/verdicts/{part}/{offset}", summary="One verdict", responses={404: _REFUSALS[404]})
    def verdict(part: Place, offset: Place) -> Row:
        found = reader.result(part, offset)
        if found is None:
            raise NotFound(f"no result at {part}/{offset}")
        return found

    @routes.get("/tickers", summary="Tickers, most verdicts first")
    def tickers(
        search: Search = "", limit: Limit = 24, offset: Annotated[int, Query(ge=0, le=10**9)] = 0
    ) -> list[Row]:
        return reader.tickers(search, limit, offset)

    @routes.get("/tickers/{ticker}", summary="Line, windows and alerts of a ticker")
    def ticker(ticker: Name) -> Row:
        return {
            "line": reader.line(ticker),
            "trend": reader.trend(ticker),
            "alerts": reader.alerts(ticker),
        }

    @routes.get("/threads/{key}", summary="A key's whole life, in order")
    def thread(key: Name, limit: Limit = 200) -> list[Row]:
        return life(reader.thread(key, limit))

    @routes.get("/alerts", summary="Alerts, newest first")
    def alerts(ticker: Search = "", limit: Limit = 100) -> list[Row]:
        states = console.stream.alert_states
        told = console.stream.deliveries
        return [
            one
            | {
                "deliveries": plain(list(told.get(one["id"], {}).values())),
                "decision": plain(states[one["id"]]) if one["id"] in states else None,
                "ticker_decision": plain(states[f"ticker:{one['ticker']}"])
                if f"ticker:{one['ticker']}" in states
                else None,
            }
            for one in reader.alerts(ticker, limit)
        ]

    @routes.get("/labels", summary="Labelled examples that hold, newest first")
    def labels(limit: Limit = 100) -> list[Row]:
        return reader.labels(limit)

    @routes.get("/labels/queue", summary="Verdicts to look at, least certain first")
    def queue(limit: Limit = 40) -> list[Row]:
        return reader.uncertain(limit)

    @routes.get("/dead-letters", summary="Dead letters, newest first")
    def dead(error_class: Search = "", limit: Limit = 100) -> Row:
        return {"groups": reader.dead_groups(), "letters": reader.dead(error_class, limit)}

    @routes.get(
        "/dead-letters/{letter_id}",
        summary="One dead letter; key and value in base64",
        responses={code: _REFUSALS[code] for code in (404, 503)},
    )
    async def letter(letter_id: Name) -> Any:
        return plain(await console.actions.letter(letter_id))

    @routes.get(
        "/records/{topic}/{part}/{offset}",
        summary="One record as its topic has it",
        responses={code: _REFUSALS[code] for code in (404, 503)},
    )
    async def record(topic: Name, part: Place, offset: Place) -> Row:
        if topic not in CATALOGUE or part >= 2**31:
            raise NotFound(f"no topic {topic!r} with a partition {part}")
        known = {one.partition for one in await reading.partitions(console.settings, [topic])}
        found = await reading.at(console.settings, [(topic, part, offset)]) if part in known else []
        if not found:
            raise NotFound(f"no record at {topic}/{part}@{offset}")
        return reading.as_line(found[0])

    @routes.get("/audit", summary="Who changed what, newest first")
    def audit(limit: Limit = 100) -> list[Row]:
        return reader.audit(limit)

    return routes


def _present(console: Console) -> APIRouter:
    """What is going on now."""
    routes = APIRouter(prefix="/v1", responses={401: _REFUSALS[401]})
    listeners = Listeners(console.live)

    @routes.get("/status", summary="Reader, rates, hops, lag, services, brokers")
    def status() -> Row:
        gauges = console.gauges
        return {
            "reader": console.live.status(),
            "totals": console.reader.totals(),
            "rates": console.live.rates(),
            "hops": console.live.hops(),
            "lag": plain([_lag(one) for one in gauges.lags]),
            "oldest_unanswered_s": gauges.oldest_s,
            "brokers": gauges.brokers,
            "services": [{k: v for k, v in one.items() if k != "log"} for one in gauges.services],
            "machine": gauges.machine,
            "training": plain(gauges.training),
        }

    @routes.get("/models", summary="Versions and their states")
    def models() -> list[Row]:
        return [plain(one) for one in console.stream.registry.versions.values()]

    @routes.get("/models/trials", summary="Versions in shadow or canary, beside the live one")
    def trials() -> list[Row]:
        return [one.row() for one in console.stream.trials.found.values()]

    @routes.get("/logs/{role}", summary="End of a service's log", responses={404: _REFUSALS[404]})
    def logs(role: Name) -> Row:
        found = console.gauges.log_tail(role)
        if found is None:
            raise NotFound(f"no service {role!r} runs on this machine")
        return {"role": role, "tail": found}

    @routes.get(
        "/stream",
        summary="Verdicts, alerts and dead letters as they come (server-sent events)",
        response_class=StreamingResponse,
    )
    async def stream() -> StreamingResponse:
        return listeners.stream()

    return routes


def _lag(one: Any) -> Row:
    return {name: getattr(one, name) for name in one.__slots__}
