"""What the console has read of the cluster, for `/metrics`: lag, age, brokers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final

from fastapi import APIRouter, Request, Response

from schemas.ids import group_id
from schemas.services import SERVICES
from schemas.topics import CATALOGUE
from streams import metrics
from streams.exposition import PATH, Exposition
from streams.metrics import Sample
from web.console import Console
from web.gauges import Gauges

SERVICE: Final = "console"
_GROUPS: Final = {group_id(name) for name in SERVICES}


def gauge_samples(gauges: Gauges) -> Iterator[Sample]:
    """The newest readings; of groups and topics only those of the catalogue."""
    lags: Counter[tuple[str, str]] = Counter()
    for one in gauges.lags:
        if one.group in _GROUPS and one.topic in CATALOGUE:
            lags[one.group, one.topic] += one.lag
    for (group, topic), lag in lags.items():
        yield Sample(metrics.LAG, lag, (group, topic))
    for topic, age in gauges.oldest_s.items():
        yield Sample(metrics.OLDEST_REQUEST, age, (topic,))
    yield Sample(metrics.BROKERS, len(gauges.brokers))


def router(console: Console) -> APIRouter:
    """`/metrics` behind the console's own gate, for scrapers that have an API token."""
    routes = APIRouter()
    exposition = Exposition(console.settings, SERVICE, lambda: gauge_samples(console.gauges))

    @routes.get(PATH, include_in_schema=False)
    def read(request: Request) -> Response:
        body, content_type = exposition.answer(request.headers.get("accept", ""))
        return Response(body, headers={"content-type": content_type})

    return routes
