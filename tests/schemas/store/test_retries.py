"""Requests that are made again, and those that are not."""

import random
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime

import pytest

from heteroshards.schemas.errors import StoreUnreachableError
from heteroshards.schemas.store.retries import LONGEST_WAIT_S, Retry, retrying, wait_before


class AnswerError(Exception):
    """As aiohttp's ClientResponseError."""

    def __init__(self, status, headers=None):
        super().__init__(f"answer {status}")
        self.status, self.headers = status, headers


class Clock:
    """Time that passes only where somebody waits."""

    def __init__(self):
        self.waits = []

    def now(self):
        return sum(self.waits)


def asked(errors, retry):
    """What comes of it, the waits, and how often was asked; `errors` come first, then an answer."""
    left, clock = list(errors), Clock()

    def get():
        if left:
            raise left.pop(0)
        return "data"

    try:
        found = retrying(get, retry, "http://host/s/x", clock.waits.append, clock.now)
    except Exception as error:
        found = error
    return found, clock.waits, len(errors) - len(left)


BUCKET = AnswerError(None)
BUCKET.response = {"ResponseMetadata": {"HTTPStatusCode": 503}}
PASSING = [AnswerError(s) for s in (408, 429, 500, 502, 503, 504, 599)]
PASSING += [ConnectionResetError(), TimeoutError(), OSError("cut off"), RuntimeError("any"), BUCKET]
LASTING = [
    *(AnswerError(s) for s in (400, 401, 403, 404, 410, 501)),
    FileNotFoundError(),
    PermissionError(),
    ValueError(),
]


@pytest.mark.parametrize("number", range(len(PASSING)))
def test_errors_that_pass_are_tried_again(number):
    found, waits, _ = asked([PASSING[number]] * 3, Retry(4, 60))
    assert found == "data" and len(waits) == 3
    found, waits, tries = asked([PASSING[number]] * 3, Retry(3, 60))
    assert isinstance(found, StoreUnreachableError) and len(waits) == 2 and tries == 3
    assert "after 3 tries" in str(found) and "http://host/s/x" in str(found) and "request_tries" in str(found)
    assert "damage" not in str(found) and "prepare" not in str(found) and found.__cause__ is PASSING[number]


@pytest.mark.parametrize("number", range(len(LASTING)))
def test_errors_that_stay_are_not(number):
    found, waits, _ = asked([LASTING[number]], Retry())
    assert found is LASTING[number] and waits == []


def test_a_status_is_told():
    assert "HTTP status 503" in str(asked([AnswerError(503)], Retry(1, 60))[0])
    wrapped = OSError("wrapped")
    wrapped.__cause__ = AnswerError(403)
    assert asked([wrapped], Retry())[0] is wrapped


def test_waits_grow_at_random_and_leave_random_numbers_alone():
    state = random.getstate()
    waits = [[wait_before(number, OSError()) for number in range(2, 20)] for _ in range(50)]
    assert random.getstate() == state
    for column, longest in zip(zip(*waits), (min(LONGEST_WAIT_S, 0.25 * 2**n) for n in range(18))):
        assert longest / 2 <= min(column) < max(column) <= longest


def test_a_server_says_when():
    assert wait_before(2, AnswerError(429, {"Retry-After": "7"})) == 7
    date = format_datetime(datetime.now(timezone.utc) + timedelta(seconds=100), usegmt=True)
    assert 90 < wait_before(2, AnswerError(503, {"Retry-After": date})) <= 100
    for odd in ("soon", "-3", "", "Fri, 32 Nov 2026"):
        assert wait_before(2, AnswerError(429, {"Retry-After": odd})) <= 0.25


def test_no_try_begins_after_the_time_is_over():
    found, waits, tries = asked([AnswerError(503)] * 100, Retry(1000, 20))
    assert isinstance(found, StoreUnreachableError) and sum(waits) <= 20 and 5 < tries < 12
    found, waits, tries = asked([AnswerError(429, {"Retry-After": "500"})], Retry(6, 60))
    assert isinstance(found, StoreUnreachableError) and waits == [] and tries == 1
