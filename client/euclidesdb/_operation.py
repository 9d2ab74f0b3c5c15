"""Operations: what a client can do, each written once for `Client` and `AsyncClient`.

An operation is a coroutine that uses the client's `Connection`. `AsyncClient` has it as it is.
`Client` has a function that runs it to its end: the connection of a `Client` blocks where that of
an `AsyncClient` suspends, so no event loop is needed. A new call of the API is one method of
`SearchCalls`, `ItemCalls`, `ItemQueries`, ...:

    @operation
    async def count(self, filter: Filter | None = None, *, timeout: float | None = None) -> int:
        connection = self._connection
        request = pb.CountItemsRequest(...)
        reply: pb.CountItemsReply = await connection.call(
            "CountItems", request, connection.call_timeout(timeout)
        )
        return reply.count

`@iteration` does the same for a method that returns an asynchronous generator. Within an operation,
`self.count(...)` would be the function of either client: call functions that take the connection.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterator
from functools import wraps
from types import MethodType
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, overload

P = ParamSpec("P")
R = TypeVar("R")


class Blocking:
    """Base of classes whose operations block."""


class Awaited:
    """Base of classes whose operations are awaited."""


class Operation(Generic[P]):
    """A method of both kinds of class."""

    def __init__(self, awaited: Callable[..., Any], blocking: Callable[..., Any]) -> None:
        self._awaited = awaited
        self._blocking = blocking
        self.__doc__ = awaited.__doc__

    def method(self, instance: Any, owner: Any) -> Any:
        """What an attribute of `owner`, or of its `instance`, is."""
        function = self._blocking if issubclass(owner, Blocking) else self._awaited
        return function if instance is None else MethodType(function, instance)


class CallOperation(Operation[P], Generic[P, R]):
    """An operation with one result."""

    @overload
    def __get__(self, instance: None, owner: Any) -> Callable[..., Any]: ...
    @overload
    def __get__(self, instance: Blocking, owner: Any) -> Callable[P, R]: ...
    @overload
    def __get__(self, instance: Awaited, owner: Any) -> Callable[P, Coroutine[Any, Any, R]]: ...
    def __get__(self, instance: Any, owner: Any) -> Any:
        return self.method(instance, owner)


class IterationOperation(Operation[P], Generic[P, R]):
    """An operation that yields results."""

    @overload
    def __get__(self, instance: None, owner: Any) -> Callable[..., Any]: ...
    @overload
    def __get__(self, instance: Blocking, owner: Any) -> Callable[P, Iterator[R]]: ...
    @overload
    def __get__(self, instance: Awaited, owner: Any) -> Callable[P, AsyncIterator[R]]: ...
    def __get__(self, instance: Any, owner: Any) -> Any:
        return self.method(instance, owner)


def operation(
    function: Callable[Concatenate[Any, P], Coroutine[Any, Any, R]],
) -> CallOperation[P, R]:
    """Makes a coroutine function a method of both clients."""

    @wraps(function)
    def blocking(client: Any, *args: P.args, **kwargs: P.kwargs) -> R:
        return run(function(client, *args, **kwargs))

    return CallOperation(function, blocking)


def iteration(
    function: Callable[Concatenate[Any, P], AsyncGenerator[R, None]],
) -> IterationOperation[P, R]:
    """Makes a function that returns an asynchronous generator a method of both clients."""

    @wraps(function)
    def blocking(client: Any, *args: P.args, **kwargs: P.kwargs) -> Iterator[R]:
        return iterate(function(client, *args, **kwargs))

    signature = inspect.signature(function)
    for method, kind in ((function, "AsyncIterator"), (blocking, "Iterator")):
        returned = str(signature.return_annotation)
        returned = returned.replace("AsyncGenerator", kind).replace(", None]", "]")
        vars(method)["__signature__"] = signature.replace(return_annotation=returned)
    return IterationOperation(function, blocking)


def run(coroutine: Coroutine[Any, Any, R]) -> R:
    """The result of a coroutine that blocks and never suspends."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        result: R = end.value
        return result
    coroutine.close()
    raise RuntimeError(f"{coroutine!r} suspended, which blocking operations must not")


def iterate(generator: AsyncGenerator[R, None]) -> Iterator[R]:
    """The results of an asynchronous generator that blocks and never suspends."""
    try:
        while True:
            try:
                result = run(generator.__anext__())
            except StopAsyncIteration:
                return
            yield result
    finally:
        run(generator.aclose())
