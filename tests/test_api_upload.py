"""`POST /upload`: what is accepted, what is refused and in which words."""

import io
import uuid

import pytest

from app.api.forms import shown_name
from app.api.lazy import LazyServices
from app.errors import DatabaseUnavailable
from app.models import OutputFormat

TEXT = "SKU,Images\n1,http://127.0.0.1:1/a.jpg\n"
HALF_READ = "ignore::pytest.PytestUnraisableExceptionWarning"
"""Werkzeug drops the file of a form that breaks off, and leaves closing it to Python."""
FAULTY = TEXT + "2,nonsense\n3,ftp://127.0.0.1/b.jpg\n"


def csv_file(text=TEXT, name="catalog.csv"):
    return (io.BytesIO(text.encode()), name)


def form_of(*parts):
    """A body as curl sends it; what is after the name in a part's head stands in the part.

    Werkzeug's client leaves its temporary file open when it builds a large one.
    """
    lines = "".join(f"--x\r\nContent-Disposition: form-data; name={part}\r\n" for part in parts)
    return {"data": f"{lines}--x--\r\n", "content_type": "multipart/form-data; boundary=x"}


def file_part(text, name="catalog.csv"):
    return f'"file"; filename="{name}"\r\n\r\n{text}'


@pytest.fixture
def bare(client_of, settings):
    """A client of an app that has started nothing: malformed requests need no database."""
    return client_of(settings)


def refusal(reply, status=400):
    assert reply.status_code == status
    assert reply.content_type == "application/json"
    return reply.json["error"]


def stored_files(settings):
    return [path for path in settings.upload_dir.rglob("*") if path.is_file()]


# Accepted


def test_an_upload_is_accepted_with_an_id_and_where_to_look(upload):
    reply = upload(TEXT)

    assert reply.status_code == 202
    request_id = reply.json["request_id"]
    assert uuid.UUID(request_id).version == 4
    assert reply.json == {
        "request_id": request_id,
        "status": "processing",
        "status_url": f"/status/{request_id}",
    }
    assert reply.headers["Location"] == f"/status/{request_id}"


def test_options_are_kept_and_defaults_filled_in_from_the_settings(client_of, settings, services):
    changed = {"image_quality": 77, "output_format": OutputFormat.WEBP}
    client = client_of(settings.model_copy(update=changed), services)
    data = {"file": csv_file(), "max_width": "800", "base_url": "https://cdn.example.com/x"}

    reply = client.post("/upload", data=data)

    status = client.get(reply.json["status_url"]).json
    assert status["options"] == {
        "quality": 77,
        "format": "webp",
        "max_width": 800,
        "base_url": "https://cdn.example.com/x",
    }


def test_every_option_is_taken(upload, client):
    reply = upload(
        "a,b\nhttp://127.0.0.1:1/a.jpg,http://127.0.0.1:1/b.jpg\n",
        quality="95",
        format="avif",
        max_width="1",
        max_height="65535",
        image_column=["b", "a"],
        on_error="reject",
        dry_run="false",
    )

    status = client.get(reply.json["status_url"]).json
    assert status["options"] == {
        "quality": 95,
        "format": "avif",
        "max_width": 1,
        "max_height": 65535,
        "image_column": ["b", "a"],
    }
    assert status["progress"]["total"] == 2


def test_an_empty_field_counts_as_absent(upload, client):
    empty = dict.fromkeys(("webhook_url", "quality", "format", "max_width", "on_error"), "")

    reply = upload(TEXT, image_column=["", "Images"], dry_run=" ", **empty)

    assert reply.status_code == 202
    options = client.get(reply.json["status_url"]).json["options"]
    assert options == {"quality": 50, "format": "auto", "image_column": ["Images"]}


def test_rows_with_faults_do_not_stop_the_others(upload, client):
    reply = upload(FAULTY)

    assert client.get(reply.json["status_url"]).json["progress"]["total"] == 1


def test_a_webhook_url_is_kept_in_the_form_that_is_called(upload, database):
    reply = upload(TEXT, webhook_url="http://127.0.0.1:9000/prüfung")

    batch = database.batches.find(reply.json["request_id"])
    assert batch.webhook_url == "http://127.0.0.1:9000/pr%C3%BCfung"


def test_the_own_receiver_may_be_called_though_no_other_loopback_address_may(
    client_of, settings, build_services
):
    closed = settings.model_copy(update={"allowed_addresses": ""})
    client = client_of(closed, build_services(closed))

    def reply_to(webhook_url):
        return client.post("/upload", data={"file": csv_file(), "webhook_url": webhook_url})

    assert reply_to("http://127.0.0.1:8000/webhook").status_code == 202
    assert "may not be called" in refusal(reply_to("http://127.0.0.1:8000/webhook/"))


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ("catalog.csv", "catalog.csv"),
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\me\\Katalog März.csv", "Katalog März.csv"),
        ("a\r\nSet-Cookie: x.csv", "aSet-Cookie: x.csv"),
        ("gpj.\u202evsc", "gpj.vsc"),
        ("x" * 300 + ".csv", "x" * 255),
        ("folder/", "catalog.csv"),
    ],
)
def test_a_file_name_is_shown_without_path_and_control_characters(sent, shown):
    assert shown_name(sent) == shown


@pytest.mark.plain_site
def test_a_file_name_is_never_a_path(upload, client, settings):
    reply = upload(TEXT, name="../../../tmp/evil.csv")

    assert client.get(reply.json["status_url"]).json["filename"] == "evil.csv"
    stored = f"{reply.json['request_id']}/upload"
    assert [str(path.relative_to(settings.upload_dir)) for path in stored_files(settings)] == [
        stored
    ]


def test_a_large_file_waits_on_disk_and_not_in_memory(client, services, monkeypatch):
    seen = []
    check = services.intake.check
    monkeypatch.setattr(
        services.intake, "check", lambda sent: seen.append(sent.file._rolled) or check(sent)
    )

    for rows in (10, 20_000):
        text = TEXT + "2,http://127.0.0.1:1/b.jpg\n" * rows
        client.post("/upload", **form_of(file_part(text), '"dry_run"\r\n\r\ntrue'))

    assert seen == [False, True]


# Dry run


def test_a_dry_run_reports_and_stores_nothing(upload, database, settings):
    reply = upload(FAULTY, dry_run="true")

    assert reply.status_code == 200
    body = reply.json
    assert [(fault.pop("message") and fault) for fault in body.pop("details")] == [
        {"row": 2, "line": 3, "column": "Images", "code": "bad_url"},
        {"row": 3, "line": 4, "column": "Images", "code": "bad_url"},
    ]
    assert body == {
        "dry_run": True,
        "rows": 3,
        "images": 1,
        "columns": {"images": ["Images"], "serial_number": ["SKU"]},
        "faults": 2,
    }
    assert stored_files(settings) == []
    assert list(database.batches.find_processing()) == []


# Refused


def test_a_file_that_is_refused_says_where_and_leaves_nothing(upload, database, settings):
    reply = upload(FAULTY, on_error="reject")

    message = refusal(reply)
    assert "on_error=skip" in message
    assert reply.json["faults"] == 2
    assert [(fault["row"], fault["line"]) for fault in reply.json["details"]] == [(2, 3), (3, 4)]
    assert stored_files(settings) == []
    assert list(database.batches.find_processing()) == []


def test_of_many_faults_the_first_thousand_are_told_and_all_are_counted(upload):
    reply = upload(TEXT + "2,nonsense\n" * 1_500, on_error="reject")

    assert refusal(reply)
    assert len(reply.json["details"]) == 1_000
    assert reply.json["faults"] == 1_500


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"),
        ("SKU,Images\n", "no row"),
        ("SKU,Price\n1,2\n", "no image column"),
        ("SKU,Images\n1,\n", "no valid image url"),
        ('SKU,Images\n1,"http://127.0.0.1:1/a.jpg\n', "quote"),
    ],
)
def test_a_file_without_anything_to_do_is_refused_with_the_reason(upload, text, message):
    assert message in refusal(upload(text)).lower()


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("quality", "0", "quality: '0' is not a whole number from 1 to 95"),
        ("quality", "96", "quality: '96' is not a whole number from 1 to 95"),
        ("quality", "best", "quality: 'best' is not a whole number from 1 to 95"),
        ("format", "gif", "one of auto, jpeg, webp, avif, png, keep, classic"),
        ("max_width", "-1", "max_width: '-1' is not a number of pixels from 1 to 65535"),
        ("max_height", "65536", "a number of pixels from 1 to 65535"),
        ("on_error", "ignore", "on_error: 'ignore' is not skip or reject"),
        ("dry_run", "1", "dry_run: '1' is not true or false"),
        ("webhook_url", "x" * 9_000, "not a URL of at most 8192 characters"),
        ("colour", "red", "unknown field 'colour': allowed are file, webhook_url, quality"),
        ("webhook_events", "some", "webhook_events: 'some' is not one of end, all"),
        ("quality", ["50", "60"], "the field quality was sent 2 times"),
        ("quality", csv_file(), "the field quality was sent as a file"),
    ],
)
def test_a_field_that_does_not_fit_is_named_with_what_is_allowed(bare, field, value, message):
    reply = bare.post("/upload", data={"file": csv_file(), field: value})

    assert message in refusal(reply)


@pytest.mark.parametrize(
    ("webhook_url", "message"),
    [
        ("http://10.0.0.1/hook", "ALLOWED_ADDRESSES=10.0.0.1:80"),
        ("http://[::ffff:169.254.169.254]/", "ALLOWED_ADDRESSES=169.254.169.254:80"),
        ("ftp://127.0.0.1/hook", "only http and https"),
        ("hook", "'hook' is a relative path: write a whole URL (https://…)"),
        ("http://me:password@127.0.0.1/", "user name or password"),
    ],
)
def test_a_webhook_url_that_may_not_be_called_is_refused(upload, webhook_url, message):
    error = refusal(upload(TEXT, webhook_url=webhook_url))

    assert error.startswith("webhook_url: ")
    assert message in error
    assert "base_url" not in error
    assert "password@" not in error


@pytest.mark.parametrize("base_url", ["ftp://cdn.example.com", "cdn", "https://a.example/?x=1"])
def test_a_base_url_must_be_one_of_http(upload, base_url):
    assert "base_url: " in refusal(upload(TEXT, base_url=base_url))


@pytest.mark.parametrize(
    "body",
    [
        {"json": {"file": "catalog.csv"}},
        {"data": "file=catalog.csv", "content_type": "application/x-www-form-urlencoded"},
        {"data": TEXT, "content_type": "text/csv"},
        {},
    ],
)
def test_another_content_type_is_told_how_to_send_a_file(bare, body):
    error = refusal(bare.post("/upload", **body))

    assert "multipart/form-data" in error
    assert "curl -F file=@catalog.csv http://127.0.0.1:8000/upload" in error


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"quality": "50"}, "the form has no file"),
        ({"file": "catalog.csv"}, "the field file was sent as text"),
        ({"file": [csv_file(), csv_file()]}, "the field file was sent 2 times"),
        ({"upload": csv_file()}, "unknown field 'upload'"),
    ],
)
def test_a_form_without_its_one_file_says_so(bare, data, message):
    reply = bare.post("/upload", data=data, content_type="multipart/form-data")

    assert message in refusal(reply)


def test_a_part_without_a_name_is_refused(bare):
    form = form_of('"x"\r\n\r\n1', file_part(TEXT))
    form["data"] = form["data"].replace('; name="x"', "")

    assert "unknown field ''" in refusal(bare.post("/upload", **form))


def test_a_form_in_which_no_file_was_chosen_says_so(bare):
    assert "no file name" in refusal(bare.post("/upload", **form_of(file_part("", name=""))))


@pytest.mark.filterwarnings(HALF_READ)
def test_a_form_that_was_cut_off_says_so(bare):
    form = form_of(file_part(TEXT))
    form["data"] = form["data"][:-12]

    assert "cut off" in refusal(bare.post("/upload", **form))


# Too large


@pytest.mark.parametrize("more_bytes", [1, 2 * 1_048_576])
def test_a_file_above_the_limit_is_413_whether_the_body_is_or_not(client_of, settings, more_bytes):
    bare = client_of(settings.model_copy(update={"max_csv_bytes": 1_000}))

    reply = bare.post("/upload", **form_of(file_part("x" * (1_000 + more_bytes))))

    assert "MAX_CSV_BYTES=1000" in refusal(reply, 413)


def test_a_file_at_the_limit_is_taken(client_of, settings, services):
    changed = settings.model_copy(update={"max_csv_bytes": len(TEXT)})

    reply = client_of(changed, services).post("/upload", data={"file": csv_file()})

    assert reply.status_code == 202


@pytest.mark.parametrize(
    "parts", [['"base_url"\r\n\r\n' + "x" * 1_100_000], ['"image_column"\r\n\r\na'] * 101]
)
def test_fields_beside_the_file_are_limited_too(bare, parts):
    reply = bare.post("/upload", **form_of(*parts, file_part(TEXT)))

    assert "beside the file" in refusal(reply, 413)


# Not now


def test_a_full_disk_is_503_with_a_time_to_come_back(client_of, settings, build_services):
    full = settings.model_copy(update={"min_free_bytes": 10**18})

    reply = client_of(full, build_services(full)).post("/upload", data={"file": csv_file()})

    assert "MIN_FREE_BYTES" in refusal(reply, 503)
    assert int(reply.headers["Retry-After"]) > 0


def test_a_database_that_is_away_is_503_with_a_time_to_come_back(bare, settings):
    def build(settings):
        raise DatabaseUnavailable("the database does not answer")

    bare.application.extensions["pressroom"] = LazyServices(settings, build=build)

    reply = bare.post("/upload", data={"file": csv_file()})

    assert "database" in refusal(reply, 503)
    assert int(reply.headers["Retry-After"]) > 0
