"""Try again what a server did not answer, or answered with an error that passes."""

import random
import time
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Callable, NamedTuple, Optional, TypeVar

from heteroshards.schemas.errors import HeteroShardsError, StoreUnreachableError

T = TypeVar("T")

FIRST_WAIT_S = 0.25
LONGEST_WAIT_S = 30.0
# 408 timeout, 425 too early, 429 too many requests; 5xx are the server's own troubles, but for 501 (not implemented),
# 505 (HTTP version) and 511 (log in first).
PASSING = {408, 425, 429, *range(500, 600)} - {501, 505, 511}
# What these say stays true when it is asked again.
LASTING = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError, ValueError, TypeError)
LASTING += (ImportError, NotImplementedError, AttributeError, MemoryError, HeteroShardsError)  # type: ignore[assignment]
HINT = "The store itself is not in question: look at the server and the network, then let the same command go on."

_jitter = random.Random()  # of its own: nobody's random numbers change


class Retry(NamedTuple):
    """How often a request is made at most, and for how many seconds after the first new ones begin."""

    tries: int = 6
    seconds: float = 60.0


DEFAULT = Retry()


def retrying(
    get: Callable[[], T],
    retry: Retry,
    where: str,
    sleep: Callable[[float], None] = time.sleep,
    now: Callable[[], float] = time.monotonic,
) -> T:
    """`get()`, again and again while its errors are such as pass, with longer and longer waits in between.

    A wait is random between half of and the whole of 0.25 s, 0.5 s, 1 s, ... up to 30 s, so that many readers do not
    come back at once; at least what the server asks for (Retry-After).

    Raises:
        StoreUnreachableError: no try of those that there may be was answered.
        Exception: `get`'s own, where it would be the same again.
    """
    start, number = now(), 0
    while True:
        number += 1
        try:
            return get()
        except Exception as error:
            if not is_passing(error):
                raise
            wait = wait_before(number + 1, error)
            if number >= retry.tries or now() - start + wait > retry.seconds:
                raise _unreachable(error, number, now() - start, retry, where) from error
        sleep(wait)


def is_passing(error: BaseException) -> bool:
    status = status_of(error)
    return status in PASSING if status is not None else not isinstance(error, LASTING)


def status_of(error: BaseException) -> Optional[int]:
    """The HTTP status that an error tells of, as aiohttp's and requests' do, or botocore's under s3fs."""
    response = getattr(error, "response", None)
    told = getattr(error, "status", getattr(response, "status_code", None))
    if told is None and isinstance(response, dict):
        told = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    return told if isinstance(told, int) else status_of(error.__cause__) if error.__cause__ else None


def wait_before(number: int, error: BaseException) -> float:
    """Seconds before try `number`, 2 or more."""
    wait = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0 ** (number - 2)) * _jitter.uniform(0.5, 1)
    return max(wait, _asked_for(error))


def _asked_for(error: BaseException) -> float:
    """Retry-After (RFC 9110, 10.2.3): seconds, or a date; 0 where there is none."""
    text = str((getattr(error, "headers", None) or {}).get("Retry-After", ""))
    if text.isdigit():
        return float(text)
    try:
        return max(0.0, (parsedate_to_datetime(text) - datetime.now(timezone.utc)).total_seconds())
    except (TypeError, ValueError, IndexError):
        return 0.0


def _unreachable(error: Exception, tries: int, seconds: float, retry: Retry, where: str) -> StoreUnreachableError:
    status = status_of(error)
    told = f"HTTP status {status}" if status else repr(error)
    return StoreUnreachableError(
        "the server of a store does not answer as it should",
        actual=f"{told} after {tries} {'try' if tries == 1 else 'tries'} in {seconds:.1f} s",
        limit=f"an answer within {retry.tries} tries and {retry.seconds:g} s ([train] request_tries, request_seconds)",
        where=where,
        hint=HINT,
    )
