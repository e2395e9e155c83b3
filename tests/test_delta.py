"""An upload that repeats what was done before: what has not changed is neither sent nor coded."""

import io
import os
import threading

import pytest
from PIL import Image

from app import making
from app.storage.local import LocalStorage

DATE = "Sat, 31 Jan 2026 10:00:00 GMT"


def photograph(shade):
    file = io.BytesIO()
    Image.effect_noise((64, 64), 30 + shade).convert("RGB").save(file, "JPEG", quality=95)
    return file.getvalue()


@pytest.fixture
def coded(monkeypatch):
    """Every source that was coded."""
    sources, compress = [], making.compress

    def noted(source, *args, **kwargs):
        sources.append(source)
        return compress(source, *args, **kwargs)

    monkeypatch.setattr(making, "compress", noted)
    return sources


@pytest.fixture
def run(upload, client, origin, wait_for):
    """A function that runs a catalogue of these paths to its end; the last status document."""

    def run_to_the_end(*paths, **options):
        rows = "".join(f"{n},{origin.url(path)}\n" for n, path in enumerate(paths))
        status_url = upload(f"SKU,Images\n{rows}", **options).json["status_url"]
        return wait_for(
            lambda: (body := client.get(status_url).json)["status"] != "processing" and body
        )

    return run_to_the_end


def image_of(status, origin, path="/a.jpg"):
    return status["images"][origin.url(path)]


def content_of(client, status, origin, path="/a.jpg"):
    reply = client.get("/" + image_of(status, origin, path)["path"])
    assert reply.status_code == 200
    return reply.data


def conditions(request):
    names = ("if-none-match", "if-modified-since")
    return {name: request.headers[name] for name in names if name in request.headers}


def statuses_sent(origin, path="/a.jpg"):
    return [conditions(request) for request in origin.requests if request.path == path]


def test_what_has_not_changed_is_asked_for_and_reused(run, client, origin, jpeg, coded):
    origin.serve("/a.jpg", jpeg, etag='"v1"', last_modified=DATE)
    first = run("/a.jpg")

    second = run("/new.jpg", "/a.jpg")

    assert statuses_sent(origin) == [{}, {"if-none-match": '"v1"', "if-modified-since": DATE}]
    assert len(coded) == 1
    assert (first["progress"]["reused"], second["progress"]["reused"]) == (0, 1)
    assert second["progress"]["completed"] == 1
    earlier, later = image_of(first, origin), image_of(second, origin)
    assert later["path"].startswith(f"processed/{second['request_id']}/2-1-a-")
    assert later["path"].rpartition("-")[2] == earlier["path"].rpartition("-")[2]
    assert [later[name] for name in ("bytes_in", "bytes_out", "kept_original")] == [
        earlier[name] for name in ("bytes_in", "bytes_out", "kept_original")
    ]
    assert content_of(client, second, origin) == content_of(client, first, origin)


@pytest.mark.parametrize(
    "identity", [{"etag": 'W/"v1"'}, {"last_modified": DATE}, {"etag": "unquoted"}]
)
def test_one_thing_that_identifies_it_is_enough(run, origin, jpeg, identity):
    origin.serve("/a.jpg", jpeg, **identity)
    run("/a.jpg")

    assert run("/a.jpg")["progress"]["reused"] == 1


def test_what_has_changed_is_made_anew_and_then_that_is_reused(run, client, origin, coded):
    origin.serve("/a.jpg", photograph(1), etag='"v1"')
    first = run("/a.jpg")
    origin.serve("/a.jpg", photograph(2), etag='"v2"')

    second, third = run("/a.jpg"), run("/a.jpg")

    assert [status["progress"]["reused"] for status in (first, second, third)] == [0, 0, 1]
    assert len(coded) == 2
    assert content_of(client, third, origin) == content_of(client, second, origin)
    assert content_of(client, second, origin) != content_of(client, first, origin)


def test_a_url_that_repeats_is_asked_for_once_and_every_slot_counts(run, origin, jpeg):
    origin.serve("/a.jpg", jpeg, etag='"v1"')
    run("/a.jpg")

    again = run(*["/a.jpg"] * 150)

    assert again["progress"]["reused"] == 150
    assert origin.count("/a.jpg") == 2


@pytest.mark.parametrize(
    "options",
    [{"quality": "51"}, {"format": "webp"}, {"max_width": "30"}, {"max_height": "30"}],
    ids=lambda options: next(iter(options)),
)
def test_other_options_make_it_anew(run, origin, jpeg, options):
    origin.serve("/a.jpg", jpeg, etag='"v1"')
    run("/a.jpg")

    assert run("/a.jpg", **options)["progress"]["reused"] == 0
    assert statuses_sent(origin) == [{}, {}]
    assert run("/a.jpg", **options)["progress"]["reused"] == 1


def test_options_that_change_no_image_do_not(run, origin, jpeg):
    origin.serve("/a.jpg", jpeg, etag='"v1"')
    run("/a.jpg")

    again = run("/a.jpg", base_url="https://h.example/", image_column="Images", on_error="reject")

    assert again["progress"]["reused"] == 1


def test_a_changed_encoder_makes_it_anew(run, origin, jpeg, monkeypatch):
    origin.serve("/a.jpg", jpeg, etag='"v1"')
    run("/a.jpg")
    monkeypatch.setattr(making, "CODING", "2, Pillow 99")

    assert run("/a.jpg")["progress"]["reused"] == 0


@pytest.mark.parametrize("first_owner", ["me", "you"])
def test_nothing_is_reused_across_owners(
    client_of, settings, services, origin, jpeg, wait_for, first_owner
):
    keys = {"me": "k" * 40, "you": "l" * 40}
    api_keys = ",".join(f"{owner}:{key}" for owner, key in keys.items())
    with_keys = type(settings)(_env_file=None, **settings.model_dump() | {"api_keys": api_keys})
    client = client_of(with_keys, services)
    origin.serve("/a.jpg", jpeg, etag='"v1"')

    def reused_by(owner):
        headers = {"Authorization": f"Bearer {keys[owner]}"}
        file = (io.BytesIO(f"Images\n{origin.url('/a.jpg')}\n".encode()), "c.csv")
        url = client.post("/upload", data={"file": file}, headers=headers).json["status_url"]
        ended = wait_for(
            lambda: (
                (body := client.get(url, headers=headers).json)["status"] == "completed" and body
            )
        )
        return ended["progress"]["reused"]

    assert [reused_by(owner) for owner in (first_owner, "me", "you")] in ([0, 1, 0], [0, 0, 1])


# Files


def test_deleting_a_request_harms_no_other(run, client, origin, jpeg):
    origin.serve("/a.jpg", jpeg, etag='"v1"')
    first, second = run("/a.jpg"), run("/a.jpg")

    assert client.delete(f"/requests/{first['request_id']}").status_code == 204

    assert content_of(client, second, origin)
    assert run("/a.jpg")["progress"]["reused"] == 1


def test_deleting_the_newest_forgets_nothing(run, client, origin, jpeg):
    origin.serve("/a.jpg", jpeg, etag='"v1"')
    run("/a.jpg")
    second = run("/a.jpg")

    client.delete(f"/requests/{second['request_id']}")

    assert run("/a.jpg")["progress"]["reused"] == 1


def test_when_every_request_is_deleted_nothing_is_remembered(run, client, origin, jpeg, database):
    origin.serve("/a.jpg", jpeg, etag='"v1"')
    for status in (run("/a.jpg"), run("/a.jpg")):
        client.delete(f"/requests/{status['request_id']}")

    assert database.client[database.name]["results"].count_documents({}) == 0
    assert run("/a.jpg")["progress"]["reused"] == 0
    assert statuses_sent(origin)[-1] == {}


def test_of_many_runs_two_or_three_are_remembered(run, origin, jpeg, database):
    origin.serve("/a.jpg", jpeg, etag='"v1"')

    for _ in range(6):
        run("/a.jpg")

    results = database.client[database.name]["results"]
    assert results.count_documents({"source": {"$exists": True}}) == 3


@pytest.mark.plain_site
@pytest.mark.parametrize("harm", [lambda path: path.unlink(), lambda path: path.write_bytes(b"x")])
def test_an_earlier_file_that_is_gone_or_damaged_is_made_anew(
    run, client, origin, jpeg, settings, harm
):
    origin.serve("/a.jpg", jpeg, etag='"v1"')
    first = run("/a.jpg", "/b.jpg")
    whole = content_of(client, first, origin)
    (file,) = (settings.processed_dir / first["request_id"]).iterdir()
    harm(file)

    second = run("/a.jpg")

    assert (second["progress"]["completed"], second["progress"]["reused"]) == (1, 0)
    assert content_of(client, second, origin) == whole
    assert statuses_sent(origin) == [{}, {"if-none-match": '"v1"'}, {}]
    assert run("/a.jpg")["progress"]["reused"] == 1


@pytest.mark.plain_site
def test_a_copy_whose_recording_was_lost_is_made_once_more(
    run, origin, jpeg, services, monkeypatch
):
    """As after a death between the file and its record, by the one who goes on."""
    origin.serve("/a.jpg", jpeg, etag='"v1"')
    run("/a.jpg")
    copy_all, copied = LocalStorage.copy_all, []

    def copy_and_fail_once(storage, copies, meanwhile):
        copied.append(copy_all(storage, copies, meanwhile))
        if len(copied) == 1:
            raise making.StorageUnavailable("as good as dead")
        return copied[-1]

    monkeypatch.setattr(LocalStorage, "copy_all", copy_and_fail_once)
    monkeypatch.setattr("app.pipeline.REST_SECONDS", 0)

    status = run("/a.jpg")

    assert status["progress"]["reused"] == 1
    assert copied[0] == copied[1] != set()


# What hosts do


def test_a_host_that_forbids_to_remember_is_not_asked(run, origin, jpeg):
    origin.serve("/a.jpg", jpeg, etag='"v1"', headers=[("Cache-Control", "private, No-Store")])

    run("/a.jpg")

    assert run("/a.jpg")["progress"]["reused"] == 0
    assert statuses_sent(origin) == [{}, {}]


def test_a_host_that_names_no_version_is_not_asked(run, origin, jpeg):
    origin.serve("/a.jpg", jpeg)
    run("/a.jpg")

    assert run("/a.jpg")["progress"]["reused"] == 0
    assert statuses_sent(origin) == [{}, {}]


def test_the_same_bytes_under_another_version_are_coded_once_more_and_then_reused(
    run, origin, jpeg, coded
):
    """As servers behind one name send them, each with a tag of its own."""
    runs = []
    for number in range(4):
        origin.serve("/a.jpg", jpeg, etag=f'"v{number}"')
        runs.append(run("/a.jpg")["progress"]["reused"])

    assert runs == [0, 0, 1, 1]
    assert len(coded) == 2


def test_304_without_being_asked_is_a_failure(run, origin):
    origin.serve("/a.jpg", status=304)

    assert image_of(run("/a.jpg"), origin)["error"]["code"] == "http_304"


@pytest.mark.parametrize("announced", [0, 5, 50_000])
def test_a_body_after_304_does_no_harm(run, client, origin, jpeg, announced):
    origin.serve("/a.jpg", jpeg, etag='"v1"')
    origin.serve("/b.jpg", photograph(2), etag='"v2"')
    first = run("/a.jpg", "/b.jpg")
    lie = b"HTTP/1.1 304 Not Modified\r\nContent-Length: %d\r\n\r\nHTTP/1.1 200 OK\r\n" % announced
    origin.answer("/a.jpg", lambda request, send: send(lie))

    second = run(*["/a.jpg", "/b.jpg"] * 10)

    assert second["progress"]["reused"] == 20
    for path in ("/a.jpg", "/b.jpg"):
        assert content_of(client, second, origin, path) == content_of(client, first, origin, path)


def test_a_redirect_that_leads_elsewhere_is_no_proof(run, client, origin):
    """The other image may be older than the one known, and its host then says "not changed"."""
    origin.serve("/one.jpg", photograph(1), last_modified=DATE)
    origin.serve("/two.jpg", photograph(2), last_modified=DATE)
    origin.redirect("/a.jpg", "/one.jpg")
    first, second = run("/a.jpg"), run("/a.jpg")
    origin.redirect("/a.jpg", "/two.jpg")

    third = run("/a.jpg")

    assert [status["progress"]["reused"] for status in (first, second, third)] == [0, 1, 0]
    assert content_of(client, third, origin) != content_of(client, second, origin)


def test_conditions_of_one_image_are_not_sent_with_the_next(run, origin, jpeg):
    origin.serve("/a.jpg", jpeg, etag='"v1"')
    origin.serve("/b.jpg", jpeg)
    run("/a.jpg", "/b.jpg")

    run(*["/a.jpg", "/b.jpg"] * 3)

    assert all(not sent for sent in statuses_sent(origin, "/b.jpg"))


def test_a_host_that_fails_meanwhile_fails_the_image_and_is_asked_again_next_time(
    run, origin, jpeg, client, monkeypatch
):
    monkeypatch.setattr(making, "WAITS_SECONDS", (0.01, 0.01))
    origin.serve("/a.jpg", jpeg, etag='"v1"')
    run("/a.jpg")
    origin.serve("/a.jpg", status=500)
    failed = run("/a.jpg")
    assert failed["progress"]["failed"] == 1
    origin.serve("/a.jpg", jpeg, etag='"v1"')

    client.post(f"/retry/{failed['request_id']}")
    origin.wait_until(lambda: origin.count("/a.jpg") == 5)

    assert run("/a.jpg")["progress"]["reused"] == 1
    progress = client.get(f"/status/{failed['request_id']}").json["progress"]
    assert (progress["completed"], progress["reused"]) == (1, 1)


def test_a_cancel_keeps_what_was_reused(upload, client, origin, jpeg, run, wait_for):
    origin.serve("/a.jpg", jpeg, etag='"v1"')
    run("/a.jpg")
    gate = threading.Event()
    origin.serve("/slow.jpg", jpeg, gate=gate)
    text = f"Images\n{origin.url('/a.jpg')}\n{origin.url('/slow.jpg')}\n"
    status_url = upload(text).json["status_url"]
    wait_for(lambda: client.get(status_url).json["progress"]["reused"] == 1)

    client.post(status_url.replace("status", "cancel"))
    gate.set()

    ended = wait_for(lambda: (s := client.get(status_url).json)["status"] == "cancelled" and s)
    assert ended["progress"]["reused"] == 1


@pytest.mark.plain_site
def test_a_reused_file_is_as_young_as_its_new_name(run, origin, jpeg, settings):
    """Or the sweeper could take it for left behind, in the moment before it is recorded."""
    origin.serve("/a.jpg", jpeg, etag='"v1"')
    first = run("/a.jpg")
    (file,) = (settings.processed_dir / first["request_id"]).iterdir()
    os.utime(file, (1, 1))

    second = run("/a.jpg")

    (copy,) = (settings.processed_dir / second["request_id"]).iterdir()
    assert copy.stat().st_mtime > 1
