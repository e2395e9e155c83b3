"""API keys and the sessions begun with them."""

import pytest

from app.keys import SESSION_SECONDS, ApiKey, Keys, new_session, parse_api_keys

NOW = 1_800_000_000.0
KEYS = Keys(parse_api_keys("ann:ann-1, ann:ann-2,bob:bob:1=, plain"))


def test_several_keys_of_one_owner_stand_side_by_side_and_a_bare_key_is_of_default():
    assert parse_api_keys("ann:ann-1, ann:ann-2,bob:bob:1=, plain,") == (
        ApiKey("ann", "ann-1"),
        ApiKey("ann", "ann-2"),
        ApiKey("bob", "bob:1="),
        ApiKey("default", "plain"),
    )


@pytest.mark.parametrize(
    "text",
    ["ann:", ":hunter2", "a b:hunter2", "ann:hunter2 x", "ann:hünter2", "hunter2\x7f", "ann:a\0b"],
)
def test_what_is_no_key_is_refused_with_its_place_and_never_repeated(text):
    with pytest.raises(ValueError, match="entry 2 is not owner:key") as raised:
        parse_api_keys(f"bob:fine,{text}")

    assert "nter2" not in str(raised.value)


def test_a_key_of_two_owners_is_refused():
    with pytest.raises(ValueError, match="entry 2 repeats the key of another owner"):
        parse_api_keys("ann:same,bob:same")


@pytest.mark.parametrize(
    ("key", "owner"),
    [("ann-1", "ann"), ("ann-2", "ann"), ("bob:1=", "bob"), ("plain", "default")],
)
def test_a_key_is_known_by_its_owner(key, owner):
    assert KEYS.owner_of(key) == owner


@pytest.mark.parametrize("key", ["", "ann", "ann:ann-1", "ANN-1", "ann-1 ", "ann-3", "é", "\udcff"])
def test_what_is_no_key_has_no_owner(key):
    assert KEYS.owner_of(key) is None


def test_every_key_is_compared_by_its_hash_whatever_is_found(monkeypatch):
    compared = []

    def compare(one, other):
        compared.append((len(one), len(other)))
        return one == other

    monkeypatch.setattr("app.keys.hmac.compare_digest", compare)

    assert KEYS.owner_of("ann-1") == "ann"
    assert compared == [(32, 32)] * 4


def test_no_keys_are_false_and_know_nobody():
    nobody = Keys(parse_api_keys(" , "))

    assert not nobody
    assert nobody.owner_of("") is None
    assert nobody.owner_of_session(new_session("", NOW), NOW) is None


def test_a_key_is_not_shown():
    assert "ann-1" not in repr(parse_api_keys("ann:ann-1"))


# Sessions


def test_a_session_is_its_key_s_owner_until_it_ends():
    session = new_session("bob:1=", NOW)

    assert KEYS.owner_of_session(session, NOW) == "bob"
    assert KEYS.owner_of_session(session, NOW + SESSION_SECONDS - 1) == "bob"
    assert KEYS.owner_of_session(session, NOW + SESSION_SECONDS) is None


def test_a_session_ends_with_its_key_and_not_with_another_of_the_owner():
    first, second = new_session("ann-1", NOW), new_session("ann-2", NOW)
    rotated = Keys(parse_api_keys("ann:ann-2,ann:ann-3"))

    assert rotated.owner_of_session(first, NOW) is None
    assert rotated.owner_of_session(second, NOW) == "ann"


def test_a_session_cannot_be_made_longer_or_up():
    ends_at, _, signature = new_session("ann-1", NOW).partition(".")

    assert KEYS.owner_of_session(f"{int(ends_at) + 1}.{signature}", NOW) is None
    for forged in ("", ".", signature, f"{ends_at}.", f"{ends_at}.{'0' * 64}", "٣" * 10 + "." * 2):
        assert KEYS.owner_of_session(forged, NOW) is None
    assert KEYS.owner_of_session(new_session("guessed", NOW), NOW) is None


def test_a_session_tells_nothing_of_its_key():
    assert "ann" not in new_session("ann-1", NOW)
