"""Sees to it that every stream has an owner, whoever asks for it or not."""

import asyncio
import logging
from contextvars import Context
from typing import Final

from app.core.errors import SightlineError
from app.pipeline.stream_host import StreamHost
from app.pipeline.stream_store import StreamStore

LOG = logging.getLogger("sightline")
_ROUND_S: Final = 2.0
_ALL_EVERY: Final = 15


class Keeper:
    """Asks for each stream of the store now and then: the first call after the death of an owner makes the next one.

    Pulled streams are asked for in every round, as nobody else would notice; pushed ones in every fifteenth.
    """

    def __init__(self, host: StreamHost, store: StreamStore) -> None:
        self._host = host
        self._store = store
        self._task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Begin with it; twice is once."""
        if self._task is None:
            self._task = asyncio.create_task(self._keep(), context=Context())

    async def _keep(self) -> None:
        rounds = 0
        while True:
            try:
                specs = await self._store.streams()
                wanted = [name for name, spec in specs.items() if spec.source is not None or rounds % _ALL_EVERY == 0]
                await asyncio.gather(*map(self._host.show, wanted), return_exceptions=True)
            except SightlineError as error:
                LOG.warning("the streams could not be looked after: %s", error)
            rounds += 1
            await asyncio.sleep(_ROUND_S)
