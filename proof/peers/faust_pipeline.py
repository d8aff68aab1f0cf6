"""Faust, an agent that asks a transformers pipeline about each event."""

from __future__ import annotations

import sys

import faust
from peer_inputs import Inputs
from peer_options import Request, answer, parse
from peer_torch import load, tokenizer
from transformers import pipeline

options = parse()
inputs = Inputs(options.model)
classify = pipeline(
    "text-classification",
    model=load(options.model),
    tokenizer=tokenizer(options.model),
    top_k=None,
    truncation=True,
)
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
    """Answer one event after the other."""
    async for request in stream:
        first, second = inputs.pair(request["text"], request["target"])
        found = classify({"text": first} | ({"text_pair": second} if second else {}))
        scores = {one["label"]: one["score"] for one in found}
        body = answer(request, found[0]["label"], scores)
        await sink.send(key=request["thread"].encode(), value=body)


if __name__ == "__main__":
    sys.argv[1:] = ["worker", "--loglevel", "warn"]
    app.main()
