"""Tasks: what is asked of a model, which answers there are, and what a new version must hold to.

The one definition of a task. The trainer publishes those it learns on `kernel.tasks`, so that
whoever asks, answers or teaches reads the same.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec

Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Inputs = Literal["text", "pair", "tokens"]
Answer = Literal["label", "tags", "vector"]
Metric = Literal["accuracy", "macro_f1", "entity_f1", "recall_at_1"]


class GateLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds that a new version is held to before it may answer."""

    confidence: Share = 0.95
    """How sure it must be, by paired bootstrap, that the new version is the better one."""
    max_fall: Share = 0.05
    """Share of the rows, those that judged the live version, that may go wrong more than now."""
    repairs: bool = True
    """Whether a version may also pass for answering corrections that it was taught, where it is
    no worse on those rows; else only for being better on rows that it never saw."""
    max_slice_fall: Share = 0.05
    """Share of a slice of those rows that may go wrong more than now, where it is not chance."""
    min_agreement: Share = 0.99
    """Share of rows on which what is served must give the label of fp32."""
    max_slowdown: Annotated[float, msgspec.Meta(gt=0)] = 1.5
    """Time for the same texts, as a multiple of the live version's."""
    max_p99_ms: Annotated[float, msgspec.Meta(gt=0)] | None = None
    """Longest forward pass of one text at the 99th percentile; None: whatever it takes."""


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """A question that a model answers: with one of `labels`, a tag for each token, or a vector."""

    name: str
    labels: tuple[str, ...] = ()
    """In the order of the model's scores; empty where the labelled data name them, or for
    vectors. Tags are BIO (Ramshaw and Marcus, 1995): `O`, `B-X`, `I-X`."""
    inputs: Inputs
    """`pair`: the text and a target that the question is about; `tokens`: a text and its words."""
    answer: Answer = "label"
    about: str = ""
    metric: Metric = "accuracy"
    """What a version is chosen by."""
    limits: GateLimits = GateLimits()
    out_of_scope: str = ""
    """The label of inputs that none of the others fits, where the task or its data have one: it
    is said more readily than it was learned, and what it costs the others is bounded."""
    awaited: bool = False
    """Requests wait for the first version; of other tasks they end as dead letters until then."""
    descriptions: dict[str, str] = {}
    """A sentence for each label, where its name alone does not say it: read by `zero-shot`."""
    parts: tuple[str, ...] = ()
    """Names or files of the tasks that one shared backbone learns together (multi-task)."""


SENTIMENT: Final = Task(
    name="sentiment",
    labels=("negative", "neutral", "positive"),
    inputs="pair",
    about="Is the text good, bad or neither for the target?",
    awaited=True,
    descriptions={
        "negative": "Bad news: a loss, a fall, a downgrade, a fraud.",
        "neutral": "A plain statement of fact, neither good nor bad news.",
        "positive": "Good news: a profit, a rise, an upgrade, a success.",
    },
)
TWEET_SENTIMENT: Final = Task(
    name="tweet-sentiment",
    inputs="text",
    about="Is the tweet good, bad or neither for what it speaks of?",
    metric="macro_f1",
)
INTENTS: Final = Task(
    name="intents",
    inputs="text",
    about="What does the customer want? The labels name the intents.",
    out_of_scope="oos",
)
ENTITIES: Final = Task(
    name="entities",
    inputs="tokens",
    answer="tags",
    about="Which words name a person, an organisation, a place or another thing?",
    metric="entity_f1",
)
TASKS: Final[dict[str, Task]] = {
    task.name: task for task in (SENTIMENT, TWEET_SENTIMENT, INTENTS, ENTITIES)
}
"""The tasks that Headrace knows by itself."""
