"""Faust, an agent that takes up to 32 events at a time and asks ONNX Runtime."""

from __future__ import annotations

import asyncio
import sys

import faust
from peer_onnx import BATCH, OnnxModel
from peer_options import Request, parse

WITHIN_S = 0.05

options = parse()
model = OnnxModel(options.model, options.precision)
app = faust.App(
    options.group,
    broker=f"kafka://{options.bootstrap}",
    consumer_auto_offset_reset="earliest",
    topic_disable_leader=True,
    web_enabled=False,
)
source = app.topic(options.source, key_serializer="raw", value_serializer="json")
sink = app.topic(options.sink, key_serializer="raw", value_serializer="json")


@app.agent(source)
async def score(stream: faust.StreamT[Request]) -> None:
    """Answer batches; their events are acknowledged when the answers are."""
    async for requests in stream.take(BATCH, within=WITHIN_S):
        bodies = await asyncio.to_thread(model.answers, requests)
        sent = [
            await sink.send(key=request["thread"].encode(), value=body)
            for request, body in zip(requests, bodies, strict=True)
        ]
        await asyncio.gather(*sent)


if __name__ == "__main__":
    sys.argv[1:] = ["worker", "--loglevel", "warn"]
    app.main()
