"""What is done again and again is done while a long call goes on, too."""

import threading

import pytest

from app.errors import LostClaim
from app.every import Every


def test_it_is_done_for_as_long_as_a_call_takes():
    done, enough = [], threading.Event()

    def act():
        done.append(1)
        if len(done) == 3:
            enough.set()

    assert Every(0.01, act).during(lambda: enough.wait(10)) is True
    assert len(done) >= 3


def test_a_call_that_is_short_costs_nothing_more():
    done = []

    assert Every(60, lambda: done.append(1)).during(lambda: "result") == "result"
    assert done == []


def test_what_the_call_raises_is_raised():
    with pytest.raises(ZeroDivisionError):
        Every(60, lambda: None).during(lambda: 1 / 0)


def test_a_lost_claim_is_told_once_the_call_has_ended():
    told, ended = threading.Event(), []

    def lose():
        told.set()
        raise LostClaim("another has it")

    with pytest.raises(LostClaim):
        Every(0.01, lose).during(lambda: ended.append(told.wait(10)))

    assert ended == [True]
