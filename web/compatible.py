"""Calls in the shape of other servers: OpenAI's `/v1/embeddings`, and `/v1/classify`.

Both go over the request topics as every question does. Errors have OpenAI's shape, so that its
clients show them. Source: OpenAI API reference, "Create embeddings"; for `classify`, where
OpenAI has none, the answer of vLLM's call of that name.
"""

from __future__ import annotations

import base64
import time
import uuid
from collections.abc import Callable, Coroutine, Sequence
from typing import Annotated, Any, Final, Literal

import numpy as np
from aiokafka.errors import KafkaError
from fastapi import APIRouter, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, Field

from schemas.events import KernelResult, ModelVersion
from web.actions import NotAllowed, Refused
from web.bodies import Name, Text
from web.console import Console
from web.gate import actor_of
from web.queries import Row
from web.verdicts import CatchingUp, TimedOut

MOST_INPUTS: Final = 256
_BODY_ERROR: Final = 400


class UnknownModel(Refused):
    """No live model of that name gives such answers."""


_CODES: Final[dict[type[Exception], tuple[int, str, str | None]]] = {
    NotAllowed: (403, "permission_error", "insufficient_permissions"),
    UnknownModel: (404, "invalid_request_error", "model_not_found"),
    TimedOut: (504, "server_error", "timeout"),
    CatchingUp: (503, "server_error", "starting"),
    Refused: (400, "invalid_request_error", None),
    KafkaError: (503, "server_error", "cluster_away"),
}


class Inputs(BaseModel):
    """One text or several. Fields that a client adds are passed over."""

    model_config = ConfigDict(extra="ignore")

    model: Name = Field(description="A task, or the version that is live for it.")
    input: Text | Annotated[list[Text], Field(min_length=1, max_length=MOST_INPUTS)]
    timeout_s: float = Field(default=30.0, gt=0, le=60)

    @property
    def texts(self) -> list[str]:
        """Each text."""
        return [self.input] if isinstance(self.input, str) else list(self.input)


class ToEmbed(Inputs):
    """Texts to make vectors of."""

    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = Field(default=None, ge=1, description="Only that of the model.")


class ToClassify(Inputs):
    """Texts to label."""

    target: Name | None = None


class _Route(APIRoute):
    """Says errors in OpenAI's shape."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        answer = super().get_route_handler()

        async def handler(request: Request) -> Response:
            try:
                return await answer(request)
            except RequestValidationError as error:
                first = error.errors()[0]
                where = ".".join(str(step) for step in first["loc"][1:]) or None
                return _error(_BODY_ERROR, str(first["msg"]), "invalid_request_error", None, where)
            except tuple(_CODES) as error:
                found = next(said for kind, said in _CODES.items() if isinstance(error, kind))
                status, kind, code = found
                where = "model" if isinstance(error, UnknownModel) else None
                return _error(status, " ".join(str(error).split()), kind, code, where)

        return handler


def router(console: Console, refusals: dict[int | str, dict[str, Any]]) -> APIRouter:
    """The routes."""
    told = {400: {"description": "The request is refused; `error` says why."}, **refusals}
    routes = APIRouter(prefix="/v1", route_class=_Route, responses=told)

    @routes.post("/embeddings", summary="Vectors of texts, as OpenAI's call (labeller)")
    async def embed(request: Request, body: ToEmbed) -> Row:
        model = _live(console, body.model)
        if model.labels:
            raise UnknownModel(_is_no_embedder(body.model))
        found = await console.verdicts.ask_all(
            actor_of(request.scope), body.texts, task=model.task, timeout_s=body.timeout_s
        )
        if not all(one.vector for one in found):
            raise UnknownModel(_is_no_embedder(body.model))
        size = len(found[0].vector)
        if body.dimensions not in {None, size}:
            raise Refused(f"dimensions: {body.model} gives {size}, no other")
        data = [
            {
                "object": "embedding",
                "index": index,
                "embedding": _vector(one.vector, body.encoding_format),
            }
            for index, one in enumerate(found)
        ]
        return _listed(found, data)

    @routes.post("/classify", summary="Labels of texts with their probabilities (labeller)")
    async def classify(request: Request, body: ToClassify) -> Row:
        model = _live(console, body.model)
        if not model.labels:
            raise UnknownModel(
                f"{body.model} gives no labels; ask one of `GET /v1/models` that does"
            )
        found = await console.verdicts.ask_all(
            actor_of(request.scope),
            body.texts,
            task=model.task,
            target=body.target,
            timeout_s=body.timeout_s,
        )
        data = [
            {
                "index": index,
                "label": one.label,
                "probs": list(one.scores.values()),
                "num_classes": len(one.scores),
                "scores": one.scores,
            }
            for index, one in enumerate(found)
        ]
        return {"id": f"classify-{uuid.uuid4().hex}", "created": int(time.time())} | _listed(
            found, data
        )

    return routes


def _live(console: Console, name: str) -> ModelVersion:
    registry = console.stream.registry
    for task in registry.tasks():
        live = registry.live(task)
        if live is not None and name in {task, live.version}:
            return live
    raise UnknownModel(f"no live model {name!r}; `GET /v1/models` lists what there is")


def _is_no_embedder(name: str) -> str:
    return f"{name!r} is no embedder: it gives labels or scores; see `/v1/classify`"


def _listed(found: Sequence[KernelResult], data: list[Row]) -> Row:
    # The kernel does not say how many tokens a text has; clients want the fields to be there.
    usage = {"prompt_tokens": 0, "total_tokens": 0}
    return {"object": "list", "model": found[0].model_version, "data": data, "usage": usage}


def _vector(vector: list[float], form: str) -> list[float] | str:
    """The numbers, or their little-endian float32 bytes in base64, which OpenAI's clients ask."""
    if form == "float":
        return vector
    return base64.b64encode(np.asarray(vector, "<f4").tobytes()).decode()


def _error(
    status: int, message: str, kind: str, code: str | None, param: str | None
) -> JSONResponse:
    said = {"message": message, "type": kind, "param": param, "code": code}
    headers = {"retry-after": "2"} if status == 503 else None
    return JSONResponse({"error": said}, status, headers)
