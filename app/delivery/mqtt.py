"""Events as MQTT 5 messages of QoS 1: an event has arrived when the broker has said so and named no fault."""

import asyncio
import logging
from collections.abc import Sequence
from typing import Final

from app.core.errors import SightlineError
from app.delivery.carrier import Parcel, Receipt, Refused, Unreachable
from app.delivery.mqtt_session import MqttSession, SessionLostError
from app.delivery.outbox_rows import DeadReason
from app.delivery.parameters import MqttBroker

LOG = logging.getLogger("sightline")

_FIRST_FAULT: Final = 0x80
_PACKET_ID_IN_USE: Final = 0x91
_PACKET_TOO_LARGE: Final = 0x95
_QUOTA_EXCEEDED: Final = 0x97
_MESSAGE_FAULTS: Final = frozenset({0x81, 0x82, 0x83, 0x87, 0x90, 0x94, _PACKET_TOO_LARGE, 0x99, 0x9A, 0x9B})
"""Reasons to end a connection that lie in what was sent, and not in the broker or the network.

Source of all: MQTT 5.0, 2.4, reason codes."""


class MqttCarrier:
    """One connection to a broker, made when there is something to deliver and made anew when it was lost.

    An event is refused when the broker acknowledges it with a fault (not authorised, not a topic, too large). A full
    quota, a lost connection and `timeout_s` without a word mean that the broker is not reachable.

    Some brokers end the connection over one message, and every stream's with it. So a stream that was under way when a
    connection was lost delivers its next parcel over a connection of its own, one message at a time: the message that
    it is about is found, and costs the others no second connection.
    """

    def __init__(self, broker: MqttBroker, *, timeout_s: float) -> None:
        self._broker = broker
        self._timeout_s = timeout_s
        self._session: MqttSession | None = None
        self._connecting = asyncio.Lock()
        self._suspects: set[tuple[str, str]] = set()

    async def deliver(self, parcel: Parcel) -> Receipt:
        """Publish the events in their order, as many at once as the broker allows."""
        lane = (parcel.address, parcel.stream_id)
        try:
            if lane not in self._suspects:
                session = await self._connected()
                receipt = await self._side_by_side(session, parcel)
                if session.is_lost:
                    self._suspects.add(lane)
                return receipt
            receipt = await self._one_by_one(parcel)
        except (OSError, ValueError, SightlineError) as error:
            LOG.info("an MQTT broker is not reachable: %s", type(error).__name__)
            return Receipt(taken=0, failure=Unreachable())
        if receipt.failure is None:
            self._suspects.discard(lane)
        return receipt

    async def _connected(self) -> MqttSession:
        async with self._connecting:
            if self._session is None or self._session.is_lost:
                self._session = None
                self._session = await MqttSession.opened(self._broker, timeout_s=self._timeout_s)
            return self._session

    async def _side_by_side(self, session: MqttSession, parcel: Parcel) -> Receipt:
        answers: list[asyncio.Future[int]] = []
        try:
            async with asyncio.timeout(self._timeout_s) as patience:
                for event in parcel.events:
                    answers.append(await session.publish(parcel.address, event))
                    patience.reschedule(asyncio.get_running_loop().time() + self._timeout_s)
                await asyncio.wait(answers)
        except (TimeoutError, SessionLostError):
            await session.close()
        return _receipt(answers, events=len(parcel.events))

    async def _one_by_one(self, parcel: Parcel) -> Receipt:
        session = await MqttSession.opened(self._broker, timeout_s=self._timeout_s)
        answers: list[asyncio.Future[int]] = []
        try:
            for event in parcel.events:
                async with asyncio.timeout(self._timeout_s):
                    answers.append(await session.publish(parcel.address, event))
                    if await answers[-1] >= _FIRST_FAULT:
                        break
        except (TimeoutError, SessionLostError):
            pass
        finally:
            await session.close()
        return _receipt(answers, events=len(parcel.events), lost_by=session.lost_by)

    async def close(self) -> None:
        """Say goodbye to the broker."""
        if self._session is not None:
            await self._session.close()


def _receipt(answers: Sequence[asyncio.Future[int]], *, events: int, lost_by: int = 0) -> Receipt:
    """What the answers to a parcel's first events mean for all of it.

    `lost_by` is why the connection ended, where it must have been over the first message without an answer.
    """
    for taken, answer in enumerate(answers):
        if not answer.done() or answer.cancelled() or answer.exception() is not None:
            return Receipt(taken=taken, failure=_refused(lost_by) if lost_by in _MESSAGE_FAULTS else Unreachable())
        code = answer.result()
        if code in (_QUOTA_EXCEEDED, _PACKET_ID_IN_USE):
            return Receipt(taken=taken, failure=Unreachable())
        if code >= _FIRST_FAULT:
            return Receipt(taken=taken, failure=_refused(code))
    return Receipt(taken=len(answers), failure=None if len(answers) == events else Unreachable())


def _refused(code: int) -> Refused:
    return Refused(reason=DeadReason.TOO_LARGE if code == _PACKET_TOO_LARGE else DeadReason.REFUSED)
