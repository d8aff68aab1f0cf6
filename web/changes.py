"""The part of the API that changes something; each route says which role it takes."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Request

from schemas.events import FeedEvent
from web.access import Actor
from web.actions import NotAllowed, Refused
from web.bodies import (
    AlertChange,
    Edited,
    Explanation,
    Instances,
    Name,
    NewEvent,
    NewLabel,
    NewToken,
    NewUser,
    PlainVerb,
    Promotion,
    Question,
    Replay,
    plain,
)
from web.console import Console
from web.gate import actor_of
from web.queries import Row


def router(console: Console, refusals: dict[int | str, dict[str, Any]]) -> APIRouter:
    """The routes."""
    routes = APIRouter(prefix="/v1", responses=refusals)
    actions, verdicts = console.actions, console.verdicts

    def who(request: Request) -> Actor:
        return actor_of(request.scope)

    @routes.post("/verdicts", summary="Ask the kernel and wait for its verdict (labeller)")
    async def ask(request: Request, body: Question) -> Any:
        return plain(
            await verdicts.ask(
                who(request),
                body.text,
                task=body.task,
                target=body.target,
                thread=body.thread,
                timeout_s=body.timeout_s,
            )
        )

    @routes.post("/events", summary="Publish an event and wait for its verdicts (labeller)")
    async def publish(request: Request, body: NewEvent) -> Any:
        event = FeedEvent(
            id=body.id or f"api-{uuid.uuid4().hex}",
            text=body.text,
            tickers=list(body.tickers),
            source=body.source,
            published_at=body.published_at,
        )
        found = await verdicts.publish(who(request), event, timeout_s=body.timeout_s)
        return {"id": event.id, "verdicts": plain(found)}

    @routes.post("/explanations", summary="Words that moved a score, by occlusion (labeller)")
    async def explain(request: Request, body: Explanation) -> list[Row]:
        moved = await verdicts.why(
            who(request), body.text, task=body.task, target=body.target, label=body.label
        )
        return [asdict(one) for one in moved]

    @routes.post("/labels", summary="Say what the right label is (labeller)")
    async def label(request: Request, body: NewLabel) -> Any:
        return plain(
            await actions.label(
                who(request),
                task=body.task,
                text=body.text,
                target=body.target,
                label=body.label,
            )
        )

    @routes.delete("/labels/{example_id}", status_code=204, summary="Take a label back (labeller)")
    async def withdraw(request: Request, example_id: Name) -> None:
        await actions.withdraw_label(who(request), example_id)

    @routes.put("/alerts/{alert_id}/state", summary="Acknowledge, mute or reopen (labeller)")
    async def set_alert(request: Request, alert_id: Name, body: AlertChange) -> Any:
        return plain(
            await actions.set_alert(
                who(request), alert_id, body.state, reason=body.reason, until=body.until
            )
        )

    @routes.post("/models/{task}/{version}/promote", summary="Make a version live (operator)")
    async def promote(request: Request, task: Name, version: Name, body: Promotion) -> Any:
        return plain(await actions.promote(who(request), task, version, body.reason))

    @routes.post("/models/{task}/rollback", summary="Back to the version before (operator)")
    async def rollback(request: Request, task: Name, body: Promotion) -> Any:
        return plain(await actions.roll_back(who(request), task, body.reason))

    @routes.post("/dead-letters/replay", summary="Put originals back, each once (operator)")
    async def replay(request: Request, body: Replay) -> dict[str, str]:
        if bool(body.ids) == bool(body.error_class):
            raise Refused("name dead letters by id, or an error class")
        rows = [await asyncio.to_thread(console.reader.dead_one, one) for one in body.ids]
        if body.error_class:
            rows = list(await asyncio.to_thread(console.reader.dead, body.error_class, 500))
        return await actions.replay(who(request), [row for row in rows if row is not None])

    @routes.post(
        "/dead-letters/{letter_id}/copy",
        status_code=204,
        summary="Publish an edited copy (operator)",
    )
    async def copy(request: Request, letter_id: Name, body: Edited) -> None:
        await actions.publish_edited(who(request), letter_id, body.value)

    @routes.post("/services/{role}/{verb}", summary="Start, stop or restart (operator)")
    async def operate(request: Request, role: Name, verb: PlainVerb) -> dict[str, str]:
        return {"said": await actions.operate(who(request), verb, role)}

    @routes.put("/services/{role}/instances", summary="Run so many of a service (operator)")
    async def scale(request: Request, role: Name, body: Instances) -> dict[str, str]:
        return {"said": await actions.operate(who(request), "scale", role, body.count)}

    @routes.get("/users", summary="Users, tokens and their roles (operator)")
    def users(request: Request) -> Row:
        if not who(request).may("operator"):
            raise NotAllowed("users are shown to operators")
        return {"users": console.access.users(), "tokens": console.access.tokens()}

    @routes.put("/users/{name}", status_code=204, summary="Add or change a user (operator)")
    async def set_user(request: Request, name: Name, body: NewUser) -> None:
        await actions.set_user(who(request), name, body.role, body.password)

    @routes.delete("/users/{name}", status_code=204, summary="Remove a user (operator)")
    async def remove_user(request: Request, name: Name) -> None:
        await actions.remove_user(who(request), name)

    @routes.post("/tokens", summary="A new API token, shown once (operator)")
    async def make_token(request: Request, body: NewToken) -> dict[str, str]:
        return {"token": await actions.make_token(who(request), body.name, body.role)}

    @routes.delete("/tokens/{name}", status_code=204, summary="End a token (operator)")
    async def remove_token(request: Request, name: Name) -> None:
        await actions.remove_token(who(request), name)

    return routes
