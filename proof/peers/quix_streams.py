"""Quix Streams, a data frame that asks ONNX Runtime about each event."""

from __future__ import annotations

from peer_onnx import OnnxModel
from peer_options import Request, parse
from quixstreams import Application

options = parse("at-least-once", "exactly-once")
model = OnnxModel(options.model, options.precision)


def score(request: Request) -> dict[str, object]:
    """The answer to one event."""
    return model.answers([request])[0]


if __name__ == "__main__":
    app = Application(
        broker_address=options.bootstrap,
        consumer_group=options.group,
        auto_offset_reset="earliest",
        processing_guarantee=options.variant,
        loglevel="WARNING",
    )
    frame = app.dataframe(app.topic(options.source))
    frame = frame.apply(score)
    frame.to_topic(app.topic(options.sink))
    app.run()
