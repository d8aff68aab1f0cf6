from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kernel.ready_queue import BUCKET_TOKENS, SLACK_S, Entry, ReadyQueue
from schemas.topics import Urgency

BUDGET = 256
entries = st.lists(
    st.tuples(
        st.integers(1, 512),
        st.sampled_from(list(SLACK_S)),
        st.sampled_from(["model a", "model b"]),
    ),
    max_size=120,
)


def _fill(rows: list[tuple[int, Urgency, str]]) -> ReadyQueue[str, int]:
    queue: ReadyQueue[str, int] = ReadyQueue()
    models = {name: name for name in ("model a", "model b")}
    for order, (tokens, urgency, model) in enumerate(rows):
        queue.put(Entry(models[model], tokens, urgency, float(order), order))
    return queue


@given(entries)
def test_every_request_leaves_exactly_once(rows: list[tuple[int, Urgency, str]]) -> None:
    queue = _fill(rows)
    left: list[int] = []
    while batch := queue.take(BUDGET):
        left += [entry.work for entry in batch]
    assert sorted(left) == list(range(len(rows)))
    assert len(queue) == 0


@given(entries)
def test_a_batch_is_one_model_within_the_budget_and_holds_what_is_due_first(
    rows: list[tuple[int, Urgency, str]],
) -> None:
    queue = _fill(rows)
    waiting = {
        order: Entry(model, tokens, urgency, float(order), order)
        for order, (tokens, urgency, model) in enumerate(rows)
    }
    while batch := queue.take(BUDGET):
        longest = max(entry.tokens for entry in batch)
        assert len({entry.model for entry in batch}) == 1
        assert len(batch) == 1 or len(batch) * longest <= BUDGET
        assert min(entry.tokens for entry in batch) > longest - 2 * BUCKET_TOKENS
        first = min(waiting.values(), key=lambda entry: entry.due)
        assert first.due in {entry.due for entry in batch}
        for entry in batch:
            del waiting[entry.work]


def test_bulk_work_waits_longer_than_interactive_but_not_for_ever() -> None:
    queue: ReadyQueue[str, str] = ReadyQueue()
    queue.put(Entry("m", 8, "bulk", 0.0, "old bulk"))
    queue.put(Entry("m", 80, "interactive", SLACK_S["bulk"] - 1, "interactive"))
    queue.put(Entry("m", 160, "interactive", SLACK_S["bulk"] + 1, "late interactive"))
    order = [queue.take(8)[0].work for _ in range(3)]
    assert order == ["interactive", "old bulk", "late interactive"]
