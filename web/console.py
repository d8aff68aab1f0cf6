"""The parts of the web console, made once and handed to pages and API."""

from __future__ import annotations

from dataclasses import dataclass

from streams.settings import Settings
from streams.together import together
from web.access import Access, folder
from web.actions import Actions
from web.gauges import Gauges
from web.index import Index
from web.live import Live
from web.queries import Reader
from web.stream import Stream
from web.verdicts import Verdicts


@dataclass(frozen=True)
class Console:
    """Everything behind the pages."""

    settings: Settings
    access: Access
    reader: Reader
    live: Live
    stream: Stream
    gauges: Gauges
    actions: Actions
    verdicts: Verdicts

    @classmethod
    def of(cls, settings: Settings) -> Console:
        """The console of a cluster and a data folder; nothing runs yet."""
        place = folder(settings)
        access = Access(place)
        index, reader, live = Index(place), Reader(place / "index.sqlite"), Live()
        stream = Stream(settings, index, live)
        actions = Actions(settings, reader, access)
        return cls(
            settings=settings,
            access=access,
            reader=reader,
            live=live,
            stream=stream,
            gauges=Gauges(settings),
            actions=actions,
            verdicts=Verdicts(actions, stream),
        )

    async def run(self) -> None:
        """Follow topics and gauges until cancelled."""
        try:
            await together(self.stream.run(), self.gauges.run())
        finally:
            await self.actions.close()
