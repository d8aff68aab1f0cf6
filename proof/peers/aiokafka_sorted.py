"""Plain aiokafka by hand: 256 records in a transaction, scored sorted by length, ONNX Runtime."""

from __future__ import annotations

import asyncio

import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from peer_onnx import OnnxModel
from peer_options import Options, parse

WINDOW = 256


async def main(options: Options) -> None:
    """Read, answer and commit in one transaction."""
    model = OnnxModel(options.model, options.precision)
    consumer = AIOKafkaConsumer(
        options.source,
        bootstrap_servers=options.bootstrap,
        group_id=options.group,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        isolation_level="read_committed",
    )
    producer = AIOKafkaProducer(
        bootstrap_servers=options.bootstrap, transactional_id=f"{options.group}.scorer"
    )
    async with consumer, producer:
        while True:
            found = await consumer.getmany(timeout_ms=1_000, max_records=WINDOW)
            requests = [orjson.loads(one.value) for part in found.values() for one in part]
            if not requests:
                continue
            bodies = await asyncio.to_thread(model.sorted_answers, requests)
            async with producer.transaction():
                sent = [
                    await producer.send(
                        options.sink, orjson.dumps(body), request["thread"].encode()
                    )
                    for request, body in zip(requests, bodies, strict=True)
                ]
                await asyncio.gather(*sent)  # a commit does not fail for a record that did
                offsets = {part: records[-1].offset + 1 for part, records in found.items()}
                await producer.send_offsets_to_transaction(offsets, options.group)


if __name__ == "__main__":
    asyncio.run(main(parse()))
