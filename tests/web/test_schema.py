"""Whatever fits the OpenAPI, and much that does not, never makes the server fail."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
import schemathesis

# It would be read while the site's threads run, and Python 3.11 cannot always compile then:
# "AST constructor recursion depth mismatch" (CPython issue 106905).
import schemathesis.specs.openapi.schemas
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.core.result import Ok

from tests.web.conftest import Site

pytestmark = pytest.mark.timeout(150)


_LOOK = settings(
    max_examples=2,
    database=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


def test_no_request_makes_the_server_fail(site: Site) -> None:
    headers = _operator(site)
    described = httpx.get(f"{site.base}/v1/openapi.json", headers=headers, timeout=30)
    assert described.status_code == 200, described.text
    schema = schemathesis.openapi.from_dict(described.json())
    tried = 0
    with httpx.Client(base_url=site.base, headers=headers, timeout=30) as client:
        for found in schema.get_all_operations():
            assert isinstance(found, Ok), found
            operation = found.ok()
            if operation.path != "/v1/stream":  # it never ends, by design
                _try(operation, client)
                tried += 1
    assert tried > 30


def _try(operation: Any, client: httpx.Client) -> None:
    @_LOOK
    @given(case=operation.as_strategy())
    def attempt(case: Any) -> None:
        if isinstance(case.body, dict) and "timeout_s" in case.body:
            case.body["timeout_s"] = 0.2
        given_ = case.as_transport_kwargs(base_url=str(client.base_url))
        asked = {name: given_[name] for name in ("params", "json", "data") if name in given_}
        answer = client.request(given_["method"], given_["url"], **asked)
        # 503 and 504 say that nobody answers in time: here nobody reads the feed.
        assert answer.status_code < 500 or answer.status_code in {503, 504}, (
            f"{answer.status_code} for {given_}: {answer.text[:300]}"
        )

    attempt()


def _operator(site: Site) -> dict[str, str]:
    return {"authorization": f"Bearer {site.tokens['operator']}"}
