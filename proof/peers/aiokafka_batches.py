"""Plain aiokafka: up to 32 records of a poll at a time, ONNX Runtime, commit after the answers."""

from __future__ import annotations

import asyncio

import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from peer_onnx import BATCH, OnnxModel
from peer_options import Options, parse


async def main(options: Options) -> None:
    """Read, answer, commit."""
    model = OnnxModel(options.model, options.precision)
    consumer = AIOKafkaConsumer(
        options.source,
        bootstrap_servers=options.bootstrap,
        group_id=options.group,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )
    producer = AIOKafkaProducer(bootstrap_servers=options.bootstrap, enable_idempotence=True)
    async with consumer, producer:
        while True:
            found = await consumer.getmany(timeout_ms=1_000, max_records=BATCH)
            requests = [orjson.loads(one.value) for part in found.values() for one in part]
            if not requests:
                continue
            bodies = await asyncio.to_thread(model.answers, requests)
            sent = [
                await producer.send(options.sink, orjson.dumps(body), request["thread"].encode())
                for request, body in zip(requests, bodies, strict=True)
            ]
            await asyncio.gather(*sent)
            await consumer.commit()


if __name__ == "__main__":
    asyncio.run(main(parse()))
