"""Deadlines over a real broker: a late request is answered as expired, and only once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from streams.settings import Settings
from tests.kernel import test_service as kit

pytestmark = pytest.mark.timeout(120)


async def test_a_request_past_its_deadline_is_answered_as_expired_and_holds_nothing_up(
    cluster: Settings, tmp_path: Path
) -> None:
    now = datetime.now(UTC)
    past, soon, far = (now + timedelta(seconds=n) for n in (-60, 4, 3_600))
    # Records of some 200 bytes: a lane holds few at a time, and yet all are answered.
    narrow = cluster.model_copy(update={"lane_in_flight_mb": 0.001})
    async with kit.kernel(narrow):
        # There is no model yet: what has a deadline does not wait for one.
        await kit._send(
            cluster,
            *[kit._request(n, "good", deadline=past) for n in range(5)],
            kit._request(5, "good", deadline=soon),
        )
        before = await kit._answers(cluster, 6)
        assert {one["status"] for one in before.values()} == {"expired"}
        await kit._make_live(cluster, "v1", tmp_path, flip=False)
        await kit._send(
            cluster,
            *[
                kit._request(n, f"good {'bad ' * (n % 7)}", deadline=past if n % 3 == 0 else far)
                for n in range(10, 100)
            ],
        )
        after = await kit._answers(cluster, 96)
    for number in range(10, 100):
        one = after[f"r{number}"]
        if number % 3 == 0:
            assert (one["status"], one["label"], one["scores"]) == ("expired", "", {})
        else:
            assert one["status"] == "scored"
            assert one["label"]
            assert one["model_version"] == "v1"
