"""One connection to an MQTT broker, from CONNECT to whatever ends it."""

import asyncio
import contextlib
import secrets
import ssl
from collections.abc import Callable
from typing import Any, Final

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from app.core.wire import WireEvent
from app.delivery.parameters import MqttBroker, secret_in

_NOT_A_TOPIC: Final = 0x90
_PACKET_TOO_LARGE: Final = 0x95
"""Source of both: MQTT 5.0, 2.4, reason codes."""
_WINDOW: Final = 1000
"""Messages on their way at once where the broker allows as many; one that names no number allows 65,535."""
_AROUND_BYTES: Final = 64
"""Of a PUBLISH beside topic, event id and body: headers, lengths, the names of its properties."""
_KEEPALIVE_S: Final = 30
_GOODBYE_S: Final = 2.0


class SessionLostError(ConnectionError):
    """The connection ended; `reason` is the code for it, 0 when we ended it ourselves."""

    def __init__(self, reason: int = 0) -> None:
        super().__init__(reason)
        self.reason = reason


class MqttSession:
    """A connection that is up until it is lost: it never comes back, the next one is another session.

    The client's own reconnecting is off, because it would send again what the outbox sends again as well.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._loop = asyncio.get_running_loop()
        self._is_up: asyncio.Future[None] = self._loop.create_future()
        self._lost: SessionLostError | None = None
        self._is_down = asyncio.Event()
        self._answers: dict[int, asyncio.Future[int]] = {}
        self._window = asyncio.Semaphore(_WINDOW)
        self._max_bytes: int | None = None
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_publish = self._on_publish

    @classmethod
    async def opened(cls, broker: MqttBroker, *, timeout_s: float) -> "MqttSession":
        """A session that the broker has accepted; OSError when it cannot be reached, or refuses."""
        client = await asyncio.to_thread(_client, broker, timeout_s=timeout_s)
        session = cls(client)
        await asyncio.to_thread(client.connect, broker.host, broker.port, _KEEPALIVE_S)
        client.loop_start()
        try:
            async with asyncio.timeout(timeout_s):
                await session._is_up
        except BaseException:
            await session.close()
            raise
        return session

    @property
    def is_lost(self) -> bool:
        """Whether nothing can be published any more."""
        return self._lost is not None

    @property
    def lost_by(self) -> int:
        """The reason code that the connection ended with; 0 while it is up."""
        return self._lost.reason if self._lost is not None else 0

    async def publish(self, topic: str, event: WireEvent) -> asyncio.Future[int]:
        """Send an event as soon as the broker's window allows; its future has the reason code of the answer.

        SessionLostError when the connection is lost by then; the future gets it when it is lost later.
        """
        await self._window.acquire()
        answer: asyncio.Future[int] = self._loop.create_future()
        answer.add_done_callback(lambda _: self._window.release())
        size_bytes = len(topic.encode()) + len(event.event_id) + len(event.body) + _AROUND_BYTES
        if self._lost is not None:
            answer.cancel()
            raise self._lost
        if self._max_bytes is not None and size_bytes > self._max_bytes:
            answer.set_result(_PACKET_TOO_LARGE)  # sent, it would end the connection
            return answer
        try:
            info = self._client.publish(topic, event.body, qos=1, properties=_properties(event))
        except ValueError:
            answer.set_result(_NOT_A_TOPIC)
            return answer
        if info.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
            answer.cancel()
            raise SessionLostError
        self._answers[info.mid] = answer
        return answer

    async def close(self) -> None:
        """End the connection; does not wait long for the other side."""
        self._client.disconnect()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_GOODBYE_S):
                await self._is_down.wait()
                await asyncio.to_thread(self._client.loop_stop)
        self._end(SessionLostError())

    # The client calls these on its own thread.
    def _on_connect(
        self, _client: Client, _data: Any, _flags: ConnectFlags, reason: ReasonCode, properties: Properties | None
    ) -> None:
        self._on_loop(lambda: self._accepted(reason, properties))

    def _on_disconnect(
        self, _client: Client, _data: Any, _flags: DisconnectFlags, reason: ReasonCode, _: Properties | None
    ) -> None:
        # Where the broker gave no reason the client has one: 0x80 for a lost connection, 0x82 for an answer that it
        # cannot read, which is how Mosquitto's PUBACK with 0x95 looks to it.
        self._on_loop(lambda: self._ended(reason.value))

    def _on_publish(
        self, _client: Client, _data: Any, mid: int, reason: ReasonCode, _properties: Properties | None
    ) -> None:
        self._on_loop(lambda: self._answered(mid, reason))

    def _on_loop(self, callback: Callable[[], None]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has gone, and everybody who waited with it
            self._loop.call_soon_threadsafe(callback)

    def _accepted(self, reason: ReasonCode, properties: Properties | None) -> None:
        if reason.is_failure:
            self._end(SessionLostError(reason.value))
            return
        self._max_bytes = getattr(properties, "MaximumPacketSize", None)
        self._window = asyncio.Semaphore(min(_WINDOW, getattr(properties, "ReceiveMaximum", _WINDOW)))
        if not self._is_up.done():
            self._is_up.set_result(None)

    def _ended(self, reason: int) -> None:
        self._is_down.set()
        self._end(SessionLostError(reason))

    def _answered(self, mid: int, reason: ReasonCode) -> None:
        answer = self._answers.pop(mid, None)
        if answer is not None and not answer.done():
            answer.set_result(reason.value)

    def _end(self, lost: SessionLostError) -> None:
        """Tell all who wait."""
        if self._lost is not None:
            return
        self._lost = lost
        if not self._is_up.done():
            self._is_up.set_exception(lost)
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(lost)
                answer.exception()  # looked at: whoever waited may have been cancelled
        self._answers.clear()


def _client(broker: MqttBroker, *, timeout_s: float) -> Client:
    client = Client(
        CallbackAPIVersion.VERSION2,
        client_id=f"sightline-{secrets.token_hex(8)}",
        protocol=MQTTv5,
        reconnect_on_failure=False,
    )
    client.max_inflight_messages = 0  # the window is ours, so that order holds across it
    client.connect_timeout = timeout_s
    if broker.tls:
        client.tls_set_context(ssl.create_default_context(cafile=broker.ca_file))
    if broker.username is not None:
        password = None if broker.password_file is None else secret_in(broker.password_file).decode()
        client.username_pw_set(broker.username, password)
    return client


def _properties(event: WireEvent) -> Properties:
    properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]  # paho types it in part
    properties.ContentType = "application/json"
    properties.UserProperty = ("event_id", event.event_id)
    return properties
