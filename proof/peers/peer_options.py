"""What every peer is told on its command line, and the words of its questions and answers."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Request = dict[str, Any]


@dataclass(frozen=True)
class Options:
    """Where to read, where to write, and which graph to ask."""

    bootstrap: str
    source: str
    sink: str
    group: str
    model: Path
    precision: str
    variant: str


def parse(*variants: str) -> Options:
    """Options of this process; `variants` are the ways in which the script can be run."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--bootstrap", required=True, help="host:port of a broker")
    parser.add_argument("--source", required=True, help="topic of requests")
    parser.add_argument("--sink", required=True, help="topic of answers")
    parser.add_argument("--group", required=True, help="consumer group")
    parser.add_argument("--model", type=Path, required=True, help="artefact folder")
    parser.add_argument("--precision", choices=("fp32", "int8"), default="fp32")
    parser.add_argument("--variant", choices=variants or ("",), default=(*variants, "")[0])
    return Options(**vars(parser.parse_args()))


def answer(request: Request, label: str, scores: dict[str, float]) -> dict[str, Any]:
    """The body of an answer."""
    return {
        "request_id": request["id"],
        "thread": request["thread"],
        "label": label,
        "scores": scores,
        "status": "scored",
    }
