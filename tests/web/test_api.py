"""The API over a real broker, a real kernel and a tiny model."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from console.supervisor import Spec
from schemas.topics import FEED_EVENTS
from streams.machine import Machine
from tests.console.test_supervisor import SLEEPER, pid_of, supervised
from tests.console.test_supervisor import until as until_async
from tests.web.conftest import Site
from web.access import Access, folder

pytestmark = pytest.mark.timeout(120)

TICKER = "DRFT"
READS = [
    "/v1/verdicts",
    "/v1/tickers",
    f"/v1/tickers/{TICKER}",
    f"/v1/threads/{TICKER}",
    "/v1/alerts",
    "/v1/labels",
    "/v1/labels/queue",
    "/v1/dead-letters",
    "/v1/audit",
    "/v1/status",
    "/v1/models",
    "/v1/openapi.json",
]
CHANGES: list[tuple[str, str, dict[str, Any]]] = [
    ("POST", "/v1/verdicts", {"text": "good"}),
    ("POST", "/v1/events", {"text": "good"}),
    ("POST", "/v1/explanations", {"text": "good day", "label": "positive"}),
    ("POST", "/v1/labels", {"text": "good", "label": "positive"}),
    ("DELETE", "/v1/labels/x", {}),
    ("PUT", "/v1/alerts/x/state", {"state": "muted"}),
    ("POST", "/v1/models/sentiment/x/promote", {"reason": "why not"}),
    ("POST", "/v1/models/sentiment/rollback", {"reason": "why not"}),
    ("POST", "/v1/dead-letters/replay", {"ids": ["x"]}),
    ("POST", "/v1/dead-letters/x/copy", {"value": "{}"}),
    ("POST", "/v1/services/kernel/restart", {}),
    ("POST", "/v1/services/kernel/stop", {}),
    ("PUT", "/v1/services/kernel/instances", {"count": 2}),
    ("PUT", "/v1/users/x", {"role": "viewer", "password": "long enough it is"}),
    ("DELETE", "/v1/users/x", {}),
    ("POST", "/v1/tokens", {"name": "x", "role": "viewer"}),
    ("DELETE", "/v1/tokens/x", {}),
]


def until(condition: Callable[[], Any], what: str, seconds: float = 60) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.1)
    raise AssertionError(f"not within {seconds} s: {what}")


@pytest.fixture(scope="module")
def operator(site: Site) -> httpx.Client:
    return site.client("operator")


@pytest.mark.parametrize("path", READS)
def test_nothing_is_shown_without_credentials(site: Site, path: str) -> None:
    assert site.client(None).get(path).status_code == 401
    forged = {"authorization": "Bearer hr_forged"}
    assert site.client(None).get(path, headers=forged).status_code == 401
    cookie = {"cookie": "headrace_session=forged"}
    assert site.client(None).get(path, headers=cookie).status_code == 401
    assert site.client("viewer").get(path).status_code == 200


@pytest.mark.parametrize(("method", "path", "body"), CHANGES)
def test_what_changes_anything_answers_401_without_credentials_and_403_to_a_viewer(
    site: Site, method: str, path: str, body: dict[str, Any]
) -> None:
    assert site.client(None).request(method, path, json=body).status_code == 401
    assert site.client("viewer").request(method, path, json=body).status_code == 403


def test_a_change_by_session_needs_the_csrf_token_and_the_same_origin(site: Site) -> None:
    access = Access(folder(site.settings))
    secret = access.accept(access.invite())
    actor = access.session(secret)
    assert actor is not None
    client = site.client(None)
    client.cookies.set("headrace_session", secret)
    label = {"text": "a good text of csrf", "label": "positive"}
    assert client.post("/v1/labels", json=label).status_code == 403
    wrong = client.post("/v1/labels", json=label, headers={"x-csrf-token": "guess"})
    assert wrong.status_code == 403
    right = {"x-csrf-token": actor.csrf}
    foreign = right | {"origin": "https://evil.example"}
    assert client.post("/v1/labels", json=label, headers=foreign).status_code == 403
    assert client.post("/v1/labels", json=label, headers=right).status_code == 200
    assert client.post("/logout", headers=right).status_code == 204
    assert client.get("/v1/status").status_code == 401, "the session has ended"


def test_a_foreign_host_name_is_refused(site: Site) -> None:
    answer = site.client("viewer").get("/v1/status", headers={"host": "evil.example"})
    assert answer.status_code == 421


def test_every_answer_carries_the_headers_that_keep_strangers_out(site: Site) -> None:
    for path in ("/login", "/v1/status"):
        headers = site.client("viewer").get(path).headers
        assert "default-src 'self'" in headers["content-security-policy"]
        assert headers["x-frame-options"] == "DENY"
        assert headers["x-content-type-options"] == "nosniff"


def test_log_in_sets_a_cookie_that_scripts_cannot_read_and_fails_slowly(site: Site) -> None:
    Access(folder(site.settings)).set_user("grace", "viewer", "a long password")
    client = site.client(None)
    given = {"name": "grace", "password": "a long password", "next": "https://evil.example/"}
    answer = client.post("/login", data=given)
    assert answer.status_code == 303
    assert answer.headers["location"] == "/", "never to another site"
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert client.get("/v1/status").status_code == 200
    codes = [
        site.client(None).post("/login", data={"name": "mallory", "password": "x"}).status_code
        for _ in range(6)
    ]
    assert codes == [401] * 5 + [429]


@pytest.mark.parametrize(
    "path",
    [
        "/v1/logs/..%2F..%2Fusers.json",
        "/v1/logs/%2Fetc%2Fpasswd",
        "/_nicegui/3.18.0/static/..%2F..%2F..%2Fmain.py",
        "/v1/records/..%2Fx/0/0",
        "/v1/records/feed.events/99999/0",
        "/v1/records/feed.events/0/9223372036854775807",
        "/v1/dead-letters/..%2F..",
    ],
)
def test_a_path_that_climbs_finds_nothing(site: Site, path: str) -> None:
    assert site.client("operator").get(path).status_code in {404, 405, 422}


def test_history_comes_from_the_index_with_its_chain_of_causes(
    site: Site, operator: httpx.Client
) -> None:
    totals = operator.get("/v1/status").json()["totals"]
    assert totals["results"] >= site.told.results
    assert totals["tickers"] == len(site.told.tickers)
    thread = operator.get(f"/v1/threads/{TICKER}").json()
    kinds = [line["kind"] for line in thread]
    assert kinds[:4] == ["event", "request", "result", "trend"]
    assert thread[2]["hop_ms"] is not None
    place = thread[0]
    raw = operator.get(f"/v1/records/feed.events/{place['part']}/{place['offset']}").json()
    assert raw["value"]["text"].startswith(place["says"][:20])


def test_a_question_is_answered_in_one_call_and_counts_for_nobody(
    site: Site, operator: httpx.Client
) -> None:
    before = operator.get("/v1/status").json()["totals"]["tickers"]
    answer = operator.post("/v1/verdicts", json={"text": "good good", "target": TICKER})
    assert answer.status_code == 200, answer.text
    assert answer.json()["label"] == "positive"
    assert answer.json()["model_version"].startswith("tiny-")
    assert operator.get("/v1/status").json()["totals"]["tickers"] == before
    _ = site


def test_a_question_that_ends_as_a_dead_letter_says_why(operator: httpx.Client) -> None:
    answer = operator.post("/v1/verdicts", json={"text": "good", "task": "weather"})
    assert answer.status_code == 422
    assert "unknown-task" in answer.json()["detail"]


def test_an_event_without_a_reader_times_out_in_words(operator: httpx.Client) -> None:
    answer = operator.post("/v1/events", json={"text": "good", "timeout_s": 0.4})
    assert answer.status_code == 504
    assert "Operations" in answer.json()["detail"]


def test_the_word_that_moved_the_score_is_found_by_leaving_it_out(operator: httpx.Client) -> None:
    answer = operator.post(
        "/v1/explanations", json={"text": "the bad quarter", "label": "negative"}
    )
    moved = {one["word"]: one["weight"] for one in answer.json()}
    assert max(moved, key=lambda word: moved[word]) == "bad"
    assert abs(moved["the"]) < 0.01


def test_a_label_is_an_event_that_can_be_withdrawn(operator: httpx.Client) -> None:
    body = {"text": "a text of its own", "label": "negative", "target": "ZZZZ"}
    made = operator.post("/v1/labels", json=body).json()

    def texts() -> list[str]:
        return [one["text"] for one in operator.get("/v1/labels").json()]

    until(lambda: "a text of its own" in texts(), "the label is indexed")
    assert operator.delete(f"/v1/labels/{made['id']}").status_code == 204
    until(lambda: "a text of its own" not in texts(), "the label is gone")


def test_an_alert_that_was_acknowledged_says_by_whom(operator: httpx.Client, site: Site) -> None:
    alert = operator.get("/v1/alerts").json()[0]
    answer = site.client("labeller").put(
        f"/v1/alerts/{alert['id']}/state", json={"state": "acknowledged", "reason": "seen"}
    )
    assert answer.status_code == 200

    def decision() -> Any:
        return operator.get("/v1/alerts").json()[0]["decision"]

    assert until(decision, "the decision came back")["by"] == "labeller"
    unknown = operator.put("/v1/alerts/nothing/state", json={"state": "muted"})
    assert unknown.status_code == 404


def test_a_dead_letter_is_replayed_once(operator: httpx.Client) -> None:
    letters = operator.get("/v1/dead-letters").json()["letters"]
    wanted = next(
        one
        for one in letters
        if (one["error_class"], one["source_topic"]) == ("empty-text", FEED_EVENTS.name)
    )
    full = operator.get(f"/v1/dead-letters/{wanted['id']}").json()
    assert full["source"]["topic"] == FEED_EVENTS.name
    body = {"ids": [wanted["id"]]}
    first = operator.post("/v1/dead-letters/replay", json=body).json()
    second = operator.post("/v1/dead-letters/replay", json=body).json()
    assert list(first.values()) == ["replayed"]
    assert list(second.values()) == ["replayed before"]


def test_promote_and_roll_back_keep_their_reason(operator: httpx.Client) -> None:
    def states() -> dict[str, tuple[str, str]]:
        found = operator.get("/v1/models").json()
        return {one["version"]: (one["state"], one["reason"]) for one in found}

    path = "/v1/models/sentiment/tiny-2/promote"
    assert operator.post(path, json={"reason": "better"}).status_code == 200
    until(lambda: states()["tiny-2"] == ("live", "better"), "promoted")
    assert operator.post(path, json={"reason": "again"}).status_code == 422
    assert operator.post("/v1/models/sentiment/rollback", json={"reason": "no"}).status_code == 200
    until(lambda: states()["tiny-1"][0] == "live", "rolled back")
    assert states()["tiny-2"][0] == "retired"


def test_the_audit_knows_who_did_what_and_who_was_refused(
    site: Site, operator: httpx.Client
) -> None:
    site.client("viewer").post("/v1/labels", json={"text": "audited", "label": "x"})

    def entries() -> set[tuple[str, str, str]]:
        found = operator.get("/v1/audit").json()
        return {(one["who"], one["action"], one["outcome"]) for one in found}

    until(lambda: ("viewer", "label", "refused") in entries(), "the refusal is in the audit")
    until(lambda: ("operator", "promote", "done") in entries(), "the promotion is in the audit")


def test_a_verdict_reaches_the_event_stream(site: Site, operator: httpx.Client) -> None:
    heard: list[str] = []
    ready = threading.Event()

    def listen() -> None:
        with site.client("viewer").stream("GET", "/v1/stream") as answer:
            for line in answer.iter_lines():
                ready.set()
                if '"SSE1"' in line:
                    heard.append(line)
                    return

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    assert ready.wait(60)
    said = operator.post("/v1/verdicts", json={"text": "good", "thread": "SSE1"})
    assert said.status_code == 200
    listener.join(60)
    assert heard  # how soon: `headrace bench console`


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"text": ""},
        {"text": "x", "extra": 1},
        {"text": "x", "timeout_s": 1e9},
        {"text": "x" * 100_001},
        {"text": "x", "task": ""},
        {"text": 3},
    ],
)
def test_a_body_that_makes_no_sense_is_refused_at_the_door(
    operator: httpx.Client, body: dict[str, Any]
) -> None:
    assert operator.post("/v1/verdicts", json=body).status_code == 422


async def test_an_operator_scales_and_stops_a_service_of_this_machine(
    site: Site, operator: httpx.Client
) -> None:
    machine = Machine(site.settings.data)
    gone = await asyncio.to_thread(operator.post, "/v1/services/relay/stop")
    assert gone.status_code == 404, "no supervisor runs here yet"
    async with supervised(machine, Spec("relay", SLEEPER, scalable=True)):
        await until_async(lambda: pid_of(machine, "relay") > 0)
        path = "/v1/services/relay/instances"
        scaled = await asyncio.to_thread(operator.put, path, json={"count": 2})
        assert scaled.json() == {"said": "relay: 2 running"}
        await until_async(lambda: pid_of(machine, "relay-2") > 0)
        stopped = await asyncio.to_thread(operator.post, "/v1/services/relay/stop")
        assert stopped.json() == {"said": "relay is stopped"}
        assert pid_of(machine, "relay") == 0
        itself = await asyncio.to_thread(operator.post, "/v1/services/console/stop")
        assert itself.status_code == 422

    def audited() -> bool:
        entries = operator.get("/v1/audit").json()
        return ("operator", "scale") in {(one["who"], one["action"]) for one in entries}

    await asyncio.to_thread(until, audited, "the audit shows it")
