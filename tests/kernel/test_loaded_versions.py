"""Which versions are loaded, which one a request gets, and what a new owner waits for."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from kernel import loading, registry
from kernel.artefact import ArtefactError
from kernel.drivers.base import Driver
from kernel.loading import Pool
from kernel.models import Models
from kernel.served import position_of
from proof import tiny_model
from schemas.events import KernelRequest, ModelState, ModelVersion, Target
from schemas.ids import model_key
from schemas.topics import RESULTS
from streams import cluster as clients
from streams.settings import Settings
from tests.kernel import test_service as kit
from tests.support import topics

pytestmark = pytest.mark.timeout(120)


def version(
    settings: Settings,
    name: str,
    scratch: Path,
    state: ModelState = "live",
    accuracy: float = 0.9,
    *,
    flip: bool = False,
) -> ModelVersion:
    address, digest = tiny_model.make(settings.models, name, scratch, flip=flip)
    return ModelVersion(
        id=model_key("sentiment", name),
        task="sentiment",
        version=name,
        state=state,
        labels=tiny_model.LABELS,
        artefact=address,
        digest=digest,
        metrics={"accuracy": accuracy},
        changed_at=datetime.now(UTC),
    )


async def announce(settings: Settings, *versions: ModelVersion) -> None:
    producer = clients.producer(settings)
    await producer.start()
    try:
        await registry.announce(producer, versions, "test")
    finally:
        await producer.stop()


@asynccontextmanager
async def following(
    settings: Settings, overloaded: Callable[[], bool] = lambda: False
) -> AsyncIterator[Models]:
    models = Models(settings, overloaded)
    task = asyncio.create_task(models.follow())
    try:
        yield models
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def said(driver: Driver, text: str) -> str:
    (encoding,) = driver.tokenize([text], [None])
    (output,) = driver.forward([encoding])
    return driver.post(encoding, output).label


async def test_the_least_recently_used_version_leaves_and_what_is_in_work_goes_on(
    tmp_path: Path,
) -> None:
    settings = Settings(data=tmp_path)
    one, two, three = (version(settings, name, tmp_path / "made") for name in ("v1", "v2", "v3"))
    size = (await Pool(settings).load(one)).megabytes
    assert size > 0
    pool = Pool(settings.model_copy(update={"models_mb": 2.5 * size}))
    first = await pool.load(one)
    await pool.load(two)
    assert pool.get(one) is first, "used again: now the other one is the least recently used"
    await pool.load(three)
    assert pool.get(two) is None
    assert pool.get(one) is first
    assert pool.megabytes <= 2.5 * size
    assert await pool.load_ahead(two) is None, "what is only expected drives nothing out"

    await pool.load(two)
    await pool.load(three)
    assert pool.get(one) is None
    assert said(first.driver, "good") == "positive", "whoever holds it can still use it"
    assert pool.unloaded == 3


async def test_a_version_larger_than_the_budget_is_loaded_alone(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path, models_mb=1e-9)
    pool = Pool(settings)
    one, two = (version(settings, name, tmp_path / "made") for name in ("v1", "v2"))
    await pool.load(one)
    assert said((await pool.load(two)).driver, "bad") == "negative"
    assert pool.get(one) is None


async def test_a_request_gets_the_version_that_its_target_names(
    cluster: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    costs = {"exact": 9.0, "quick": 1.0}
    monkeypatch.setattr(loading, "_cost_ms", lambda driver: costs[driver.version])
    await announce(
        cluster,
        version(cluster, "exact", tmp_path, "live", accuracy=0.95),
        version(cluster, "quick", tmp_path, "standby", accuracy=0.85, flip=True),
    )
    busy = False

    def ask(**fields: object) -> KernelRequest:
        return KernelRequest(id="r", task="sentiment", text="good", thread="T", **fields)  # type: ignore[arg-type]

    async with following(cluster, lambda: busy) as models:
        await models.wait_for(ask())
        await models.wait_until_seen({"sentiment": "x@2"})

        async def chosen(**fields: object) -> tuple[str, str]:
            request = ask(**fields)
            driver = await models.wait_for(request)
            choice = models.settle(request)
            assert choice is not None
            return driver.version, choice.by

        async def quick_is_loaded() -> bool:
            request = ask(prefer=Target(max_ms=2))
            driver = models.driver_for(request)
            return driver is not None and driver.version == "quick"

        await topics.until(quick_is_loaded, "the one on standby is loaded")
        assert await chosen() == ("exact", "route")
        assert await chosen(prefer=Target(max_ms=2)) == ("quick", "target")
        assert await chosen(prefer=Target(min_accuracy=0.9)) == ("exact", "target")
        assert await chosen(may_degrade=True) == ("exact", "route")
        busy = True
        assert await chosen(may_degrade=True) == ("quick", "overload")
        assert await chosen() == ("exact", "route"), "only who allows it is degraded"
        assert await chosen(prefer=Target(max_ms=2), may_degrade=True) == ("quick", "target")

    async with kit.kernel(cluster):
        await kit._send(
            cluster,
            kit._request(1, "good", thread="T"),
            kit._request(2, "good", thread="T", prefer=Target(max_ms=2)),
        )
        await kit._answers(cluster, 2)
    results = {
        r.json()["request_id"]: r.json() for r in await topics.read_all(cluster, RESULTS.name)
    }
    assert (results["r1"]["model_version"], results["r1"]["chosen_by"]) == ("exact", "route")
    assert results["r2"]["chosen_by"] == "target"


async def test_a_new_owner_waits_until_it_has_read_what_the_lane_before_had_read(
    cluster: Settings, tmp_path: Path
) -> None:
    async with following(cluster) as models:
        request = KernelRequest(id="r", task="sentiment", text="good", thread="T")
        await models.wait_for(request)
        choice = models.settle(request)
        assert choice is not None
        await models.wait_until_seen({"sentiment": choice.served.mark, "older": "v1"})
        ahead = choice.served.position + 1
        waiting = asyncio.create_task(
            models.wait_until_seen({"sentiment": f"{choice.served.route}@{ahead}"})
        )
        done, _ = await asyncio.wait([waiting], timeout=1)
        assert not done, "this kernel has not read so far: it might answer by a retired version"
        await announce(cluster, version(cluster, "next", tmp_path))
        await asyncio.wait_for(waiting, 30)
        driver = await models.wait_for(request)
        assert driver.version == "next"


async def test_a_version_that_cannot_be_loaded_leaves_the_former_one_in_force(
    cluster: Settings, tmp_path: Path
) -> None:
    request = KernelRequest(id="r", task="sentiment", text="good", thread="T")
    async with following(cluster) as models:
        before = (await models.wait_for(request)).version
        broken = version(cluster, "broken", tmp_path)
        (Path(broken.artefact) / "model.fp32.onnx").write_bytes(b"damaged")
        with pytest.raises(ArtefactError, match="is damaged"):
            await Pool(cluster).load(broken)
        await announce(cluster, broken)
        choice = models.settle(request)
        assert choice is not None
        await models.wait_until_seen({"sentiment": f"{before}@{choice.served.position + 1}"})
        assert (await models.wait_for(request)).version == before

        # Another kernel could load it and has answered by it: this one must not go back.
        mark = f"broken@{choice.served.position + 1}"
        waiting = asyncio.create_task(models.wait_until_seen({"sentiment": mark}))
        done, _ = await asyncio.wait([waiting], timeout=1)
        assert not done
        waiting.cancel()


@pytest.mark.parametrize(
    ("mark", "position"), [("v1@57", 57), ("v1+v2*0.25@7", 7), ("v1", 0), ("", 0), ("v@x", 0)]
)
def test_a_mark_of_any_release_has_a_position(mark: str, position: int) -> None:
    assert position_of(mark) == position
