"""RabbitMQ as the carrier: shared work queues, one queue per session, a topic exchange for the outside.

Publishing and consuming have a connection each: a broker that is short of memory stops reading a connection that
publishes, and acknowledgements must not wait behind it. Whatever closes, a connection or a channel, ends that side as
a whole, and its link opens it anew.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

import aio_pika
import structlog
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractIncomingMessage
from aio_pika.exceptions import CONNECTION_EXCEPTIONS, ChannelPreconditionFailed, PublishError

from understudy.domain.ports import Clock
from understudy.runtime.rabbit_carrier import BrokeredCarrier, CarrierSettings
from understudy.runtime.rabbit_topology import QueueType
from understudy.runtime.rabbit_wire import (
    BrokerFailed,
    Connection,
    Consumer,
    DeclaredOtherwise,
    Deliver,
    Message,
    Publisher,
    Sent,
    Watch,
)

log = structlog.get_logger("rabbit")
for _library in ("aio_pika", "aiormq"):
    # Without a handler Python writes on standard error what the links report as well.
    logging.getLogger(_library).addHandler(logging.NullHandler())

HEARTBEAT_SECONDS = 10
CONNECT_SECONDS = 10.0
OPERATION_SECONDS = 5.0
DELETE_SECONDS = 15.0
CLOSE_SECONDS = 3.0


class RabbitCarrier(BrokeredCarrier):
    """Carries pokes and events through RabbitMQ."""

    def __init__(
        self,
        url: str,
        clock: Clock,
        *,
        queues: int = 4,
        queue_type: QueueType = "classic",
        prefetch: int = 50,
        confirm_timeout_seconds: float = 5.0,
        start_timeout_seconds: float = 10.0,
        grace_seconds: float = 2.0,
    ) -> None:
        settings = CarrierSettings(
            queues=queues,
            queue_type=queue_type,
            prefetch=prefetch,
            confirm_timeout_seconds=confirm_timeout_seconds,
            start_timeout_seconds=start_timeout_seconds,
            grace_seconds=grace_seconds,
        )
        super().__init__(_Wire(url, confirm_timeout_seconds).connect, clock, settings)


class _Wire:
    """Opens connections to one broker."""

    def __init__(self, url: str, confirm_timeout_seconds: float) -> None:
        self._url = url
        self._confirm_timeout_seconds = confirm_timeout_seconds

    @asynccontextmanager
    async def connect(self, name: str, watch: Watch) -> AsyncIterator[Connection]:
        async with _asking(CONNECT_SECONDS):
            properties: dict[str, Any] = {"connection_name": f"understudy {name}"}
            connection = await aio_pika.connect(self._url, heartbeat=HEARTBEAT_SECONDS, client_properties=properties)
        try:
            connection.close_callbacks.add(_telling(watch))
            if not connection.connected.is_set():
                watch.broke("closed at once")
            yield _Connection(connection, watch, self._confirm_timeout_seconds)
        finally:
            with suppress(BrokerFailed, TimeoutError):
                async with _asking(CLOSE_SECONDS):
                    await connection.close()


class _Connection:
    def __init__(self, connection: AbstractConnection, watch: Watch, confirm_timeout_seconds: float) -> None:
        self._connection = connection
        self._watch = watch
        self._confirm_timeout_seconds = confirm_timeout_seconds

    async def answers(self) -> None:
        async with self._channel():
            pass

    async def declare_exchange(self, name: str, kind: str) -> None:
        async with self._channel() as channel:
            await channel.declare_exchange(name, kind, durable=True)

    async def declare_queue(self, name: str, arguments: Mapping[str, Any], *, bound_to: str | None = None) -> None:
        async with self._channel() as channel:
            queue = await channel.declare_queue(name, durable=True, arguments=dict(arguments))
            if bound_to is not None:
                await queue.bind(bound_to)

    async def delete_queue(self, name: str) -> None:
        async with self._channel(DELETE_SECONDS) as channel:
            await channel.queue_delete(name)

    async def consumers(self, queue: str) -> int:
        async with self._channel() as channel:
            found = await channel.declare_queue(queue, passive=True)
            return found.declaration_result.consumer_count or 0

    async def publisher(self) -> Publisher:
        async with _asking(OPERATION_SECONDS):
            return _Publisher(await self._lasting_channel(confirms=True), self._confirm_timeout_seconds)

    async def consumer(self, prefetch: int) -> Consumer:
        async with _asking(OPERATION_SECONDS):
            channel = await self._lasting_channel()
            await self._ready_to_consume(channel, prefetch)
            return _Consumer(channel)

    async def own_consumer(self, prefetch: int, queue: str, arguments: Mapping[str, Any]) -> Consumer:
        async with _asking(OPERATION_SECONDS):
            channel = await self._opened()
            await channel.declare_queue(queue, exclusive=True, auto_delete=True, arguments=dict(arguments))
            channel.close_callbacks.add(_telling(self._watch))
            await self._ready_to_consume(channel, prefetch)
            return _Consumer(channel)

    async def _lasting_channel(self, *, confirms: bool = False) -> AbstractChannel:
        channel = await self._opened(confirms=confirms)
        channel.close_callbacks.add(_telling(self._watch))
        return channel

    async def _opened(self, *, confirms: bool = False) -> AbstractChannel:
        channel = self._connection.channel(publisher_confirms=confirms, on_return_raises=confirms)
        await channel.initialize()
        return channel

    async def _ready_to_consume(self, channel: AbstractChannel, prefetch: int) -> None:
        await channel.set_qos(prefetch)
        underlay = await channel.get_underlay_channel()
        underlay.on_consumer_cancel_callbacks.add(lambda _: self._watch.broke("the broker cancelled a consumer"))

    @asynccontextmanager
    async def _channel(self, seconds: float = OPERATION_SECONDS) -> AsyncIterator[AbstractChannel]:
        """A channel for one question; the broker or the library closes one whose question failed."""
        async with _asking(seconds):
            channel = await self._opened()
            yield channel
            await channel.close()


class _Publisher:
    def __init__(self, channel: AbstractChannel, confirm_timeout_seconds: float) -> None:
        self._channel = channel
        self._confirm_timeout_seconds = confirm_timeout_seconds

    async def publish(self, exchange: str, key: str, message: Message, *, mandatory: bool) -> Sent:
        """Publish and wait for the broker's word; never raises."""
        outgoing = aio_pika.Message(
            message.body,
            content_type=message.content_type,
            message_id=message.message_id,
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT
            if message.is_durable
            else aio_pika.DeliveryMode.NOT_PERSISTENT,
        )
        try:
            async with _asking(self._confirm_timeout_seconds):
                target = await self._channel.get_exchange(exchange, ensure=False)
                await target.publish(outgoing, key, mandatory=mandatory)
        except _Returned:
            return Sent.RETURNED
        except TimeoutError:
            return Sent.LATE
        except BrokerFailed as error:
            log.info("publish_failed", exchange=exchange, key=key, reason=str(error))
            return Sent.REFUSED
        return Sent.CONFIRMED


class _Consumer:
    def __init__(self, channel: AbstractChannel) -> None:
        self._channel = channel

    async def consume(self, queue: str, deliver: Deliver) -> str:
        async def on_message(message: AbstractIncomingMessage) -> None:
            deliver(_Delivery(message))

        async with _asking(OPERATION_SECONDS):
            source = await self._channel.get_queue(queue, ensure=False)
            return await source.consume(on_message)

    async def cancel(self, tag: str) -> None:
        async with _asking(OPERATION_SECONDS):
            underlay = await self._channel.get_underlay_channel()
            await underlay.basic_cancel(tag)


class _Delivery:
    def __init__(self, message: AbstractIncomingMessage) -> None:
        self._message = message

    @property
    def body(self) -> bytes:
        return self._message.body

    async def ack(self) -> None:
        async with _asking(OPERATION_SECONDS):
            await self._message.ack()

    async def discard(self) -> None:
        async with _asking(OPERATION_SECONDS):
            await self._message.reject(requeue=False)


class _Returned(BrokerFailed):
    """No queue takes the message."""


def _telling(watch: Watch) -> Callable[[Any, BaseException | None], None]:
    return lambda closed, error: watch.broke(f"{type(closed).__name__} closed: {error!r:.300}")


@asynccontextmanager
async def _asking(seconds: float) -> AsyncIterator[None]:
    """Turn what the library raises into TimeoutError and BrokerFailed."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise  # an OSError, too
    except ChannelPreconditionFailed as error:
        raise DeclaredOtherwise(str(error)) from error
    except PublishError as error:
        raise _Returned(str(error)) from error
    except CONNECTION_EXCEPTIONS as error:
        raise BrokerFailed(repr(error)) from error
    except asyncio.CancelledError as error:
        # The library cancels whoever waits on what it closes.
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise BrokerFailed("closed meanwhile") from error
