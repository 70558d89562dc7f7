"""A detached actor that all replicas of the cluster share, found by its name or started."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

import ray
from ray.actor import ActorHandle

from app.core.errors import UnavailableError
from deployments.faults import peel

T = TypeVar("T")
_CALL_S: Final = 5.0
_START_S: Final = 30.0
"""The first call waits for the actor's process to start."""


class NamedActor:
    """The actor of class `kind` by that name and namespace; `what` is what errors call it. For one event loop.

    Ray starts it again when it dies, as `kind(*arguments)`.
    """

    def __init__(self, kind: type, *arguments: Any, name: str, namespace: str, what: str) -> None:
        self._kind = kind
        self._arguments = arguments
        self._name = name
        self._namespace = namespace
        self._what = what
        self._actor: ActorHandle[Any] | None = None
        self._has_answered = False

    async def ask(self, call: Callable[[ActorHandle[Any]], Awaitable[T]], *, wait_s: float = 0.0) -> T:
        """The actor's answer, which may take `wait_s` longer than usual; raises SightlineError only.

        UnavailableError while it is away.
        """
        try:
            async with asyncio.timeout(wait_s + (_CALL_S if self._has_answered else _START_S)):
                if self._actor is None:
                    self._actor = await asyncio.to_thread(self._open)
                answer = await call(self._actor)
        except Exception as error:  # noqa: BLE001  every kind of failure of a remote call is peeled here
            is_late = isinstance(error, TimeoutError)
            peeled = UnavailableError(f"{self._what} does not answer") if is_late else peel(error)
            if type(peeled) is UnavailableError:
                self._actor = None  # by its name we find the one that follows it
            raise peeled from None
        self._has_answered = True
        return answer

    def _open(self) -> ActorHandle[Any]:
        """The one there is, or a new one; blocks."""
        actor: Any = ray.remote(self._kind).options(
            name=self._name,
            namespace=self._namespace,
            lifetime="detached",
            get_if_exists=True,
            max_restarts=-1,
            num_cpus=0,
        )
        found: ActorHandle[Any] = actor.remote(*self._arguments)
        return found
