"""FastStream, a batch subscriber of up to 32 records that asks ONNX Runtime."""

from __future__ import annotations

import asyncio
import logging

from faststream import AckPolicy, FastStream
from faststream.kafka import KafkaBroker
from peer_onnx import BATCH, OnnxModel
from peer_options import Request, parse

options = parse()
model = OnnxModel(options.model, options.precision)
broker = KafkaBroker(options.bootstrap, enable_idempotence=True, log_level=logging.DEBUG)


@broker.subscriber(
    options.source,
    group_id=options.group,
    auto_offset_reset="earliest",
    batch=True,
    max_records=BATCH,
    ack_policy=AckPolicy.NACK_ON_ERROR,
)
async def score(requests: list[Request]) -> None:
    """Answer a batch; its offsets are committed when the answers are acknowledged."""
    bodies = await asyncio.to_thread(model.answers, requests)
    sent = [
        await broker.publish(body, options.sink, key=request["thread"].encode(), no_confirm=True)
        for request, body in zip(requests, bodies, strict=True)
    ]
    await asyncio.gather(*sent)


if __name__ == "__main__":
    asyncio.run(FastStream(broker).run())
