"""State changes, on a real server: who may write what, whatever happens between."""

import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from app.database import connect
from app.database.leases import claimant, is_dead
from app.errors import LostClaim, SettingsError
from app.models import (
    Batch,
    BatchOptions,
    BatchStatus,
    Counts,
    ImageResult,
    ImageStatus,
    ImageUrl,
    Row,
    Webhook,
    WebhookState,
)

DONE = ImageResult(ImageStatus.COMPLETED, "processed/x/1-1-a-000000000000.jpg", 100, 40)


def make_batch(**changes):
    request_id = str(uuid.uuid4())
    batch = Batch(
        request_id=request_id,
        owner="default",
        status=BatchStatus.PROCESSING,
        created_at=datetime.now(UTC),
        filename="catalog.csv",
        upload_path=f"uploads/{request_id}/upload",
        options=BatchOptions(),
        total=0,
        rows=0,
    )
    return replace(batch, **changes)


def row(number, *urls):
    return Row(number, number + 1, (), "", "", tuple(ImageUrl(url, "Images") for url in urls))


@pytest.fixture
def accepted(database):
    """A function that stores a request of the given rows as one segment, and returns its id."""

    def accept(*rows, **changes):
        batch = make_batch(**changes)
        database.batches.begin(batch)
        database.products.insert(batch.request_id, rows)
        database.segments.insert(batch.request_id, [(1, len(rows))])
        total = sum(len(row.urls) for row in rows)
        database.batches.commit(batch.request_id, rows=len(rows), total=total)
        return batch.request_id

    return accept


def expire_leases(database):
    """As if every lease had run out a minute ago."""
    past = datetime.now(UTC) - timedelta(minutes=1)
    for name in ("segments", "processing_requests"):
        database.client[database.name][name].update_many(
            {"lease_expires_at": {"$ne": None}}, {"$set": {"lease_expires_at": past}}
        )


def test_a_request_is_hidden_until_it_is_committed(database):
    batch = make_batch()

    database.batches.begin(batch)
    assert database.batches.find(batch.request_id) is None
    database.batches.commit(batch.request_id, rows=2, total=3)

    found = database.batches.find(batch.request_id)
    assert (found.status, found.rows, found.total) == (BatchStatus.PROCESSING, 2, 3)


def test_an_upload_that_was_given_up_cannot_be_committed(database):
    batch = make_batch()
    database.batches.begin(batch)
    expire_leases(database)

    assert list(database.batches.claim_abandoned()) == [batch.request_id]
    with pytest.raises(LostClaim):
        database.batches.commit(batch.request_id, rows=1, total=1)


def test_an_upload_that_is_being_received_is_not_abandoned(database):
    database.batches.begin(make_batch())

    assert list(database.batches.claim_abandoned()) == []


def test_a_segment_is_claimed_by_one_worker_only(database, accepted):
    request_id = accepted(row(1, "http://h/a"))

    assert database.segments.claim(f"{request_id}:1").token == 1
    assert database.segments.claim(f"{request_id}:1") is None


def test_after_its_lease_a_segment_can_be_claimed_under_a_higher_token(database, accepted):
    request_id = accepted(row(1, "http://h/a"))
    database.segments.claim(f"{request_id}:1")
    expire_leases(database)

    assert database.segments.find_claimable(request_id, 4) == [f"{request_id}:1"]
    assert database.segments.claim(f"{request_id}:1").token == 2


def test_a_worker_that_lost_its_claim_writes_nothing(database, accepted):
    request_id = accepted(row(1, "http://h/a"))
    late = database.segments.claim(f"{request_id}:1")
    database.products.take_over(late)
    database.results.claim(late, ["http://h/a"])
    expire_leases(database)
    current = database.segments.claim(f"{request_id}:1")
    database.products.take_over(current)
    database.results.claim(current, ["http://h/a"])

    with pytest.raises(LostClaim):
        database.results.record(late, {"http://h/a": DONE})
    with pytest.raises(LostClaim):
        database.products.record(late, [(1, 1, DONE, "http://me/x")])
    with pytest.raises(LostClaim):
        database.segments.renew(late)
    with pytest.raises(LostClaim):
        database.segments.finish(late, Counts(completed=1))

    assert database.segments.sum_counts(request_id) == Counts()
    assert [image.result.path for image in next(database.products.iterate(request_id)).images] == [
        None
    ]


def test_a_segment_of_a_dead_process_is_free_at_once(database, accepted):
    request_id = accepted(row(1, "http://h/a"))
    database.segments.claim(f"{request_id}:1")
    database.client[database.name]["segments"].update_one(
        {"_id": f"{request_id}:1"}, {"$set": {"claimant.started": "1"}}
    )

    database.segments.free_dead_claims()

    assert database.segments.claim(f"{request_id}:1").token == 2


def test_only_a_process_that_is_certainly_gone_is_dead():
    me = claimant()

    assert not is_dead(me)
    assert is_dead(me | {"started": "1"})
    assert is_dead(me | {"pid": 2**22 + 1})
    assert not is_dead(me | {"host": "elsewhere boot pid:[1]", "pid": 2**22 + 1})
    assert not is_dead(me | {"host": me["host"].replace(" ", " other-", 1), "pid": 2**22 + 1})


def test_claims_without_results_are_counted_and_results_begin_anew(database, accepted):
    segment_id = f"{accepted(row(1, 'http://h/a'))}:1"
    for claims in (1, 2, 3):
        segment = database.segments.claim(segment_id)
        assert segment.fruitless_claims == claims
        expire_leases(database)
    database.segments.progress(segment, Counts(completed=1))
    expire_leases(database)

    assert database.segments.claim(segment_id).fruitless_claims == 1


def test_a_segment_that_was_put_back_has_nobody_to_blame(database, accepted):
    segment_id = f"{accepted(row(1, 'http://h/a'))}:1"
    segment = database.segments.claim(segment_id)
    database.segments.release(segment)

    assert database.segments.claim(segment_id).fruitless_claims == 1


def test_counts_are_set_not_added(database, accepted):
    request_id = accepted(row(1, "http://h/a", "http://h/b"))
    segment = database.segments.claim(f"{request_id}:1")

    database.segments.progress(segment, Counts(completed=1, bytes_in=100))
    database.segments.progress(segment, Counts(completed=1, failed=1, bytes_in=100))

    assert database.segments.sum_counts(request_id) == Counts(completed=1, failed=1, bytes_in=100)


def test_a_url_belongs_to_the_segment_that_claimed_it_first(database):
    request_id = make_batch().request_id
    database.segments.insert(request_id, [(1, 1), (2, 2)])
    first = database.segments.claim(f"{request_id}:1")
    second = database.segments.claim(f"{request_id}:2")

    assert database.results.claim(first, ["http://h/a"]).mine == ("http://h/a",)
    claims = database.results.claim(second, ["http://h/a", "http://h/b"])

    assert claims.mine == ("http://h/b",)
    assert claims.held == {"http://h/a": (first.id, 1)}
    database.results.record(first, {"http://h/a": DONE})
    assert database.results.claim(second, ["http://h/a"]).done == {"http://h/a": DONE}


def test_a_url_of_a_dead_segment_is_taken_over_once(database):
    request_id = make_batch().request_id
    database.segments.insert(request_id, [(1, 1), (2, 2), (3, 3)])
    dead, second, third = (database.segments.claim(f"{request_id}:{n}") for n in (1, 2, 3))
    database.results.claim(dead, ["http://h/a"])
    holder = (dead.id, dead.token)

    assert database.segments.find_held([holder]) == {holder}
    expire_leases(database)
    assert database.segments.find_held([holder]) == set()
    assert database.results.take_over(second, "http://h/a", holder)
    assert not database.results.take_over(third, "http://h/a", holder)
    with pytest.raises(LostClaim):
        database.results.record(dead, {"http://h/a": DONE})


def test_the_finish_is_claimed_once_and_again_only_after_its_lease(database, accepted):
    request_id = accepted(row(1, "http://h/a"))

    assert database.batches.claim_finish(request_id, 0) == 1
    assert database.batches.claim_finish(request_id, 0) is None
    expire_leases(database)
    assert database.batches.claim_finish(request_id, 0) == 2
    with pytest.raises(LostClaim):
        end(database, request_id, token=1)


def test_the_end_and_its_webhook_are_one_update(database, accepted):
    request_id = accepted(row(1, "http://h/a"), webhook_url="http://me/hook")
    token = database.batches.claim_finish(request_id, 0)
    webhook = Webhook(
        request_id,
        "http://me/hook",
        "msg_1",
        '{"price": "$5"}',
        WebhookState.PENDING,
        next_attempt_at=datetime(2026, 1, 31, tzinfo=UTC),
    )

    end(database, request_id, token=token, webhook=webhook)

    batch = database.batches.find(request_id)
    assert batch.status is BatchStatus.COMPLETED
    assert batch.webhook == webhook
    assert batch.completed_at - datetime.now(UTC) < timedelta(minutes=1)
    assert database.batches.claim_finish(request_id, 0) is None


def end(database, request_id, *, token, webhook=None):
    database.batches.end(
        request_id,
        token,
        status=BatchStatus.COMPLETED,
        webhook=webhook,
        output_csv_path="outputs/x.csv",
        output_base_url="http://me",
    )


def test_a_due_webhook_is_claimed_for_one_try(database, accepted):
    now = datetime(2026, 1, 31, tzinfo=UTC)
    request_id = accepted(row(1, "http://h/a"), webhook_url="http://me/hook")
    webhook = Webhook(
        request_id, "http://me/hook", "msg_1", "{}", WebhookState.PENDING, next_attempt_at=now
    )
    end(database, request_id, token=database.batches.claim_finish(request_id, 0), webhook=webhook)

    assert database.batches.claim_webhook(now - timedelta(seconds=1)) is None
    claimed = database.batches.claim_webhook(now)
    assert (claimed.id, claimed.attempts) == ("msg_1", 1)
    assert database.batches.claim_webhook(now) is None
    assert database.batches.claim_webhook(now + timedelta(seconds=61)).attempts == 2


def test_what_a_late_try_has_to_say_is_ignored(database, accepted):
    now = datetime(2026, 1, 31, tzinfo=UTC)
    request_id = accepted(row(1, "http://h/a"), webhook_url="http://me/hook")
    webhook = Webhook(
        request_id, "http://me/hook", "msg_1", "{}", WebhookState.PENDING, next_attempt_at=now
    )
    end(database, request_id, token=database.batches.claim_finish(request_id, 0), webhook=webhook)
    late = database.batches.claim_webhook(now)
    current = database.batches.claim_webhook(now + timedelta(seconds=61))

    database.batches.record_webhook(replace(current, state=WebhookState.DELIVERED))
    database.batches.record_webhook(replace(late, state=WebhookState.FAILED))

    assert database.batches.find(request_id).webhook.state is WebhookState.DELIVERED


def test_pages_follow_rows_and_positions(database, accepted):
    request_id = accepted(row(1, "http://h/a", "http://h/b"), row(2), row(3, "http://h/c"))

    first, has_more = database.products.page(request_id, after=(0, 0), limit=2)
    second, has_no_more = database.products.page(request_id, after=(1, 2), limit=2)

    assert [(slot.row, slot.position, slot.image.url) for slot in first + second] == [
        (1, 1, "http://h/a"),
        (1, 2, "http://h/b"),
        (3, 1, "http://h/c"),
    ]
    assert (has_more, has_no_more) == (True, False)


def test_a_page_can_be_filtered_by_status(database, accepted):
    request_id = accepted(row(1, "http://h/a", "http://h/b"))
    segment = database.segments.claim(f"{request_id}:1")
    database.products.take_over(segment)
    database.products.record(segment, [(1, 2, DONE, "http://me/x")])

    def urls(status):
        page, _ = database.products.page(request_id, after=(0, 0), limit=9, status=status)
        return [slot.image.url for slot in page]

    assert urls(ImageStatus.COMPLETED) == ["http://h/b"]
    assert urls(ImageStatus.PROCESSING) == ["http://h/a"]
    assert urls(ImageStatus.PENDING) == []


def test_the_same_event_is_stored_once_and_the_newest_are_kept(database):
    events = type(database.events)(database.client[database.name], keep=2)

    assert events.save("1", datetime.now(UTC), {"n": 1})
    assert not events.save("1", datetime.now(UTC), {"n": 1})
    assert events.save("2", datetime.now(UTC), {"n": 2})
    assert events.save("3", datetime.now(UTC), {"n": 3})

    page, cursor = events.page("default", before=None, limit=1)
    assert [event["id"] for event in page] == ["3"]
    page, cursor = events.page("default", before=cursor, limit=1)
    assert ([event["id"] for event in page], cursor) == (["2"], None)


def test_the_whole_view_can_be_read_beside_a_request_of_300_000_urls(database, accepted):
    small = accepted(row(1, "http://h/a.jpg"))
    large = make_batch().request_id
    database.batches.begin(make_batch(request_id=large))
    for first in range(1, 30_001, 1000):
        database.products.insert(
            large,
            [
                row(number, *(f"https://h/{number}/{slot}.jpg" for slot in range(10)))
                for number in range(first, first + 1000)
            ],
        )
    database.batches.commit(large, rows=30_000, total=300_000)

    view = {doc["request_id"]: doc for doc in database.client[database.name]["requests"].find()}

    assert view[small]["images"] == {
        "http://h/a.jpg": {"status": "pending", "path": None, "error": None}
    }
    assert view[small]["status"] == "Pending"
    assert not view[small]["images_truncated"]
    assert len(view[large]["images"]) == 10_000
    assert view[large]["images_truncated"]


@pytest.mark.parametrize(
    ("status", "word"),
    [
        (BatchStatus.COMPLETED, "Completed"),
        (BatchStatus.FAILED, "Failed"),
        (BatchStatus.CANCELLED, "Failed"),
    ],
)
def test_the_view_has_the_words_of_design_b(database, accepted, status, word):
    request_id = accepted(row(1, "http://h/a.jpg"))
    view = database.client[database.name]["requests"]

    database.batches.mark_started(request_id)
    assert view.find_one({"request_id": request_id})["status"] == "Processing"
    database.batches.end(
        request_id,
        database.batches.claim_finish(request_id, 0),
        status=status,
        webhook=None,
        output_csv_path="outputs/x.csv",
    )

    document = view.find_one({"request_id": request_id})
    assert (document["status"], document["output_csv"]) == (word, "outputs/x.csv")


def test_a_database_of_a_newer_version_is_refused_with_what_to_do(settings, database):
    versions = database.client[database.name]["meta"]
    versions.update_one({"_id": "schema"}, {"$set": {"schema_version": 999}})

    with pytest.raises(SettingsError, match=r"schema_version 999.*start the newer version again"):
        connect(settings.mongodb_uri.get_secret_value(), settings.mongodb_database)

    assert versions.find_one()["schema_version"] == 999
