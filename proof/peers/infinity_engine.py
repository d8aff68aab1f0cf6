"""Infinity's engine, which batches and sorts by length itself, fed from Kafka by aiokafka."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from infinity_emb import AsyncEmbeddingEngine, EngineArgs
from infinity_emb.transformer.classifier import optimum as classifier
from peer_inputs import Inputs
from peer_options import Options, Request, answer, parse
from peer_torch import GRAPH, folder, register

POLL = 256
BATCH = 32
SEPARATOR = " [SEP] "


def engine(options: Options, scratch: Path) -> AsyncEmbeddingEngine:
    """An engine over the artefact, written out as the engine expects to find it."""
    onnx = options.variant == "onnx"
    register()
    # For a folder the engine finds the graph's whole path, where optimum takes a name inside it.
    classifier.get_onnx_files = lambda **_: Path(GRAPH)
    graph = f"model.{options.precision}.onnx" if onnx else ""
    return AsyncEmbeddingEngine.from_args(
        EngineArgs(
            model_name_or_path=str(folder(options.model, scratch / "model", graph)),
            engine="optimum" if onnx else "torch",
            device="cpu",
            batch_size=BATCH,
            bettertransformer=False,
            lengths_via_tokenize=False,
            model_warmup=False,  # it would ask for more tokens than the model takes
        )
    )


async def main(options: Options) -> None:
    """Read, answer a poll at a time, commit."""
    inputs = Inputs(options.model)

    def sentence(request: Request) -> str:
        # The engine takes single texts: the pair is joined by the separator of its tokenizer.
        first, second = inputs.pair(request["text"], request["target"])
        return first if second is None else first + SEPARATOR + second

    consumer = AIOKafkaConsumer(
        options.source,
        bootstrap_servers=options.bootstrap,
        group_id=options.group,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )
    producer = AIOKafkaProducer(bootstrap_servers=options.bootstrap, enable_idempotence=True)
    with tempfile.TemporaryDirectory() as scratch:
        asked = engine(options, Path(scratch))
        async with asked, consumer, producer:
            while True:
                found = await consumer.getmany(timeout_ms=1_000, max_records=POLL)
                requests = [orjson.loads(one.value) for part in found.values() for one in part]
                if not requests:
                    continue
                said, _ = await asked.classify(sentences=[sentence(one) for one in requests])
                sent = []
                for request, outcome in zip(requests, said, strict=True):
                    scores = {one["label"]: one["score"] for one in outcome}
                    body = answer(request, max(scores, key=scores.__getitem__), scores)
                    key = request["thread"].encode()
                    sent.append(await producer.send(options.sink, orjson.dumps(body), key))
                await asyncio.gather(*sent)
                await consumer.commit()


if __name__ == "__main__":
    asyncio.run(main(parse("onnx", "torch")))
