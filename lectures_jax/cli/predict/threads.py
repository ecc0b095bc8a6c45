"""Work in threads whose results come in order, and with bounded memory."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def in_threads(
    function: Callable[[T], R], items: Iterable[T], *, workers: int, ahead: int
) -> Iterator[R]:
    """Yields `function(item)` for each item, in their order, computed in threads.

    The items are drawn in the caller's thread, as results are asked for.

    Args:
        function: of one item.
        items: any number.
        workers: threads.
        ahead: items that are worked on, or done, beyond the one whose result comes next.

    Raises:
        Exception: what the function raised, in the place of its result.
    """
    pending: deque[Future[R]] = deque()
    pool = ThreadPoolExecutor(workers)
    try:
        for item in items:
            pending.append(pool.submit(function, item))
            if len(pending) > ahead:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)  # after an error, do not work on the rest
