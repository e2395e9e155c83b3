"""Whole jobs with all in a bucket of a real S3 server: what callers see, and what is left."""

import csv
import io
import json
import threading
import uuid
import zipfile
from dataclasses import replace

import obstore
import pytest
import requests
from python_calamine import CalamineWorkbook
from workbooks import workbook

from app.errors import NotFound
from app.intake import Upload
from app.models import BatchOptions
from app.storage import s3 as s3_storage
from tests.scaled import environment_of, settings_of
from tests.service_process import PROJECT, service_process

BASE_URL = "http://127.0.0.1:8000"


@pytest.fixture
def settings(settings, bucket, tmp_path):
    """Of a service that has no folders: where they should be is a file."""
    nowhere = tmp_path / "nowhere"
    nowhere.write_text("no folder can be made here")
    folders = {f"{name}_dir": nowhere / name for name in ("upload", "processed", "output")}
    return settings.model_copy(update=folders | settings_of(bucket))


@pytest.fixture
def objects(bucket):
    """A function that lists what lies in the bucket, below a part of a key."""

    def find(folder=""):
        store = s3_storage._connect(bucket)
        return sorted(one["path"] for page in obstore.list(store, folder) for one in page)

    return find


@pytest.fixture
def run(upload, client, wait_for):
    """A function that runs an upload to its end; the last status document."""

    def run_to_the_end(text, **options):
        return ended(upload(text, **options).json["status_url"])

    def ended(status_url):
        return wait_for(
            lambda: (body := client.get(status_url).json)["status"] != "processing" and body
        )

    run_to_the_end.ended = ended
    return run_to_the_end


def path_of(url):
    assert url.startswith(f"{BASE_URL}/")
    return url.removeprefix(BASE_URL)


def rows_of(reply):
    return list(csv.DictReader(io.StringIO(reply.text)))


def test_a_whole_job_leaves_all_in_the_bucket_and_nothing_on_the_disk(
    run, client, origin, jpeg, objects, settings
):
    origin.serve("/a.jpg", jpeg)
    sample = f"{BASE_URL}/samples/cat-240.jpg"
    status = run(f"SKU,Images\n1,{origin.url('/a.jpg')}\n2,{sample}\n3,{origin.url('/no.jpg')}\n")
    request_id = status["request_id"]

    rows = rows_of(client.get(status["output_csv_url"]))
    archive = zipfile.ZipFile(io.BytesIO(client.get(f"/download/{request_id}/images.zip").data))
    replaced = client.get(f"{status['output_csv_url']}?urls=replace")

    assert [row["Status"] for row in rows] == ["completed", "completed", "failed"]
    pictures = {
        name: client.get(path_of(rows[n]["Output Image Urls"])).data
        for n, name in enumerate(("a", "cat"))
    }
    assert pictures["a"][:2] == b"\xff\xd8"
    in_archive = {name: archive.read(name) for name in archive.namelist()}
    assert set(pictures.values()) < set(in_archive.values())
    assert in_archive["catalog-compressed.csv"] == client.get(status["output_csv_url"]).data
    assert rows[0]["Output Image Urls"] in replaced.text
    assert objects(f"uploads/{request_id}") == [f"uploads/{request_id}/upload"]
    assert objects(f"outputs/{request_id}") == [status["output_csv"]]
    assert len(objects(f"processed/{request_id}")) == 2
    left = [path for path in settings.data_dir.rglob("*") if path.is_file()]
    assert {path.parent.name for path in left} <= {"metrics"}


def test_an_image_is_served_from_the_bucket_as_from_a_folder(run, client, origin, jpeg):
    origin.serve("/a.jpg", jpeg)
    path = "/" + run(f"Images\n{origin.url('/a.jpg')}\n")["images"][origin.url("/a.jpg")]["path"]

    whole = client.get(path)
    head = client.head(path)
    unchanged = client.get(path, headers={"If-None-Match": whole.headers["ETag"]})
    part = client.get(path, headers={"Range": "bytes=2-5"})
    beyond = client.get(path, headers={"Range": f"bytes={len(whole.data)}-"})

    assert whole.headers["Content-Type"] == "image/jpeg"
    assert whole.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert (head.status_code, head.data) == (200, b"")
    assert head.headers["Content-Length"] == str(len(whole.data))
    assert (unchanged.status_code, unchanged.data) == (304, b"")
    assert (part.status_code, part.data) == (206, whole.data[2:6])
    assert beyond.status_code == 416
    assert client.get(path[:-5] + "x.jpg").status_code == 404


def test_what_has_not_changed_is_copied_in_the_bucket(run, client, origin, jpeg, objects):
    origin.serve("/a.jpg", jpeg, etag='"v1"')
    catalogue = f"Images\n{origin.url('/a.jpg')}\n"
    first = run(catalogue)
    second = run(catalogue)

    assert client.delete(f"/requests/{first['request_id']}").status_code == 204

    assert second["progress"]["reused"] == 1
    for area in ("uploads", "processed", "outputs"):
        assert objects(f"{area}/{first['request_id']}") == []
    reply = client.get("/" + second["images"][origin.url("/a.jpg")]["path"])
    assert (reply.status_code, len(reply.data)) == (200, second["progress"]["bytes_out"])


def test_a_retry_makes_what_failed_and_writes_the_output_anew(run, client, origin, jpeg, objects):
    status = run(f"Images\n{origin.url('/a.jpg')}\n")
    assert status["progress"]["failed"] == 1
    origin.serve("/a.jpg", jpeg)

    retried = client.post(f"/retry/{status['request_id']}")
    status = run.ended(retried.json["status_url"])

    assert status["progress"]["completed"] == 1
    assert status["output_csv"] in objects(f"outputs/{status['request_id']}")
    assert rows_of(client.get(status["output_csv_url"]))[0]["Status"] == "completed"


def test_a_workbook_comes_in_and_goes_out(client, origin, jpeg, run):
    origin.serve("/a.jpg", jpeg)
    sent = workbook([["SKU", "Images"], ["007", origin.url("/a.jpg")]])
    accepted = client.post("/upload", data={"file": (io.BytesIO(sent), "catalog.xlsx")})

    status = run.ended(accepted.json["status_url"])
    reply = client.get(f"{status['output_csv_url']}?format=xlsx")

    sheet = CalamineWorkbook.from_filelike(io.BytesIO(reply.data)).get_sheet_by_index(0)
    header, row = sheet.to_python()
    assert dict(zip(header, row, strict=True))["Status"] == "completed"
    assert row[0] == "007"


def test_a_large_upload_is_sent_in_parts_and_read_back_whole(run, client, services, bucket):
    row = f"1,,{'x' * 60_000}\n"
    catalogue = f"SKU,Images,Note\n{row * 200}2,{BASE_URL}/samples/no.jpg,\n".encode()

    request_id = services.intake.accept(
        Upload(io.BytesIO(catalogue), "c.csv", "default", BatchOptions())
    )
    status = run.ended(f"/status/{request_id}")

    assert len(rows_of(client.get(status["output_csv_url"]))) == 201
    stored = obstore.head(s3_storage._connect(bucket), f"uploads/{request_id}/upload")
    assert stored["size"] == len(catalogue)
    assert stored["e_tag"].endswith('-2"')  # S3's sign of two parts


# A bucket that is slow


def test_a_slow_bucket_takes_half_of_the_threads_at_most(
    client, services, settings, monkeypatch, wait_for
):
    places, gate, waiting, replies = settings.web_threads // 2, threading.Event(), [], []

    def open_slowly(key):
        waiting.append(key)
        gate.wait(20)
        raise NotFound(key)

    def get(path):
        replies.append(client.application.test_client().get(path))

    monkeypatch.setattr(services.storage, "open", open_slowly)
    paths = [f"/processed/{uuid.uuid4()}/{n}-a.jpg" for n in range(places)]
    threads = [threading.Thread(target=get, args=(path,)) for path in paths]
    for thread in threads:
        thread.start()
    wait_for(lambda: len(waiting) == places)

    refused = client.get(paths[0])
    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")
    assert client.get("/healthz").status_code == 200
    assert len(waiting) == places

    gate.set()
    for thread in threads:
        thread.join(20)
    assert [reply.status_code for reply in replies] == [404] * places
    assert client.get(paths[0]).status_code == 404


@pytest.fixture
def no_place_to_read(client):
    """Others read from the bucket on as many threads as may."""
    permits = client.application.extensions["pressroom_readers"]

    def take():
        while permits.acquire(blocking=False):
            pass

    return take


def test_an_output_csv_is_read_from_the_bucket_only_where_there_is_a_place(
    run, client, no_place_to_read
):
    status = run(f"Images\n{BASE_URL}/samples/cat-240.jpg\n")
    no_place_to_read()

    assert client.get(status["output_csv_url"]).status_code == 503
    assert client.get(f"{status['output_csv_url']}?urls=replace").status_code == 200


def test_who_has_an_image_already_costs_no_fetch_and_hears_when_it_is_deleted(
    run, client, services, monkeypatch
):
    sample = f"{BASE_URL}/samples/cat-240.jpg"
    status = run(f"Images\n{sample}\n")
    path = "/" + status["images"][sample]["path"]
    headers = {"If-None-Match": client.get(path).headers["ETag"]}
    opened, open_ = [], services.storage.open
    monkeypatch.setattr(services.storage, "open", lambda key: opened.append(key) or open_(key))

    unchanged = client.get(path, headers=headers)
    fetched = list(opened)
    client.delete(f"/requests/{status['request_id']}")
    deleted = client.get(path, headers=headers)

    assert (unchanged.status_code, fetched, deleted.status_code) == (304, [], 404)


# S3_PUBLIC_URL


def test_images_are_linked_to_where_the_bucket_is_public(
    client_of, build_services, settings, bucket, origin, jpeg, wait_for
):
    public = f"{bucket.endpoint_url}/{bucket.name}/{bucket.prefix}"
    services = build_services(settings.model_copy(update={"s3_public_url": public}))
    services.start()
    client = client_of(services.settings, services)
    origin.serve("/a.jpg", jpeg)
    origin.serve("/hook", b"")
    form = {
        "file": (io.BytesIO(f"Images\n{origin.url('/a.jpg')}\n".encode()), "a.csv"),
        "webhook_url": origin.url("/hook"),
    }

    request_id = client.post("/upload", data=form).json["request_id"]
    wait_for(lambda: origin.count("/hook"))

    (row,) = rows_of(client.get(f"/download/{request_id}"))
    url = row["Output Image Urls"]
    assert url.startswith(f"{public}/processed/{request_id}/")
    assert (
        client.get(f"/status/{request_id}").json["images"][origin.url("/a.jpg")]["output_url"]
        == url
    )
    assert requests.get(url, timeout=10).headers["Content-Type"] == "image/jpeg"
    called = next(request for request in origin.requests if request.path == "/hook")
    assert json.loads(called.body)["output_csv_url"] == f"{BASE_URL}/download/{request_id}"


# A bucket that is away


def test_an_upload_is_503_while_the_bucket_is_not_there_and_readyz_says_why(
    client_of, build_services, settings, database
):
    missing = settings.model_copy(update={"storage_url": "s3://nowhere/at/all"})
    services = build_services(missing)
    client = client_of(missing, services)

    refused = client.post(
        "/upload", data={"file": (io.BytesIO(b"Images\nhttp://a/b.jpg"), "a.csv")}
    )
    ready = client.get("/readyz")

    sentence = "the bucket nowhere does not exist: create it, or mend STORAGE_URL"
    assert (refused.status_code, refused.json) == (503, {"error": sentence})
    assert int(refused.headers["Retry-After"]) > 0
    assert (ready.status_code, ready.json["checks"]["storage"]) == (503, sentence)
    assert (
        client.get(f"/processed/{'0' * 8}-0000-4000-8000-{'0' * 12}/1-1-a.jpg").status_code == 503
    )
    assert client.get("/healthz").status_code == 200
    assert client.get("/requests").json["requests"] == []


def test_a_key_that_runs_out_midway_fails_no_image_and_work_goes_on_with_a_new_one(
    upload, client, services, origin, jpeg, bucket, wait_for, monkeypatch
):
    monkeypatch.setattr("app.storage.patience.REST_SECONDS", 0.1)
    monkeypatch.setattr("app.pipeline.REST_SECONDS", 0.1)
    gate = threading.Event()
    for n in range(3):
        origin.serve(f"/{n}.jpg", jpeg, gate=gate)
    text = "Images\n" + "".join(f"{origin.url(f'/{n}.jpg')}\n" for n in range(3))
    status_url = upload(text).json["status_url"]
    origin.wait_until(lambda: origin.count("/0.jpg"))
    good = services.storage._store
    services.storage._store = s3_storage._connect(replace(bucket, secret_access_key="run-out"))

    gate.set()
    wait_for(lambda: services.storage._writing._reason)
    status = client.get(status_url).json
    refused = upload(text)
    services.storage._store = good
    status_later = wait_for(
        lambda: (body := client.get(status_url).json)["status"] == "completed" and body
    )

    assert (status["status"], status["progress"]["failed"]) == ("processing", 0)
    assert refused.status_code == 503
    assert "AWS_SECRET_ACCESS_KEY" in refused.json["error"]
    assert status_later["progress"]["completed"] == 3


# The service as a process


def test_worker_processes_share_the_bucket_and_no_log_tells_its_secret(tmp_path, bucket):
    nowhere = {
        f"{name}_DIR": PROJECT / "run.py" / name for name in ("UPLOAD", "OUTPUT", "PROCESSED")
    }
    with service_process(
        tmp_path, WORKER_PROCESSES=1, LOG_LEVEL="DEBUG", **environment_of(bucket), **nowhere
    ) as service:
        service.wait_until_ready()
        sample = f"{service.url}/samples/cat-240.jpg"
        reply = requests.post(
            f"{service.url}/upload",
            files={"file": ("c.csv", f"Images\n{sample}\n")},
            headers={"Prefer": "wait=20"},
            timeout=30,
        )

        assert reply.json()["progress"]["completed"] == 1, service.log()
        output_url = reply.json()["images"][sample]["output_url"]
        assert requests.get(output_url, timeout=10).headers["Content-Type"] == "image/jpeg"
        assert bucket.secret_access_key not in service.log()


def test_the_start_stops_when_the_library_is_missing_and_says_what_to_install(tmp_path, bucket):
    (tmp_path / "obstore.py").write_text("raise ModuleNotFoundError('none', name='obstore')")
    with service_process(tmp_path, **environment_of(bucket), PYTHONPATH=tmp_path) as service:
        assert service.process.wait(30) == 1

    assert "pip install -r requirements-scale.txt" in service.log()
    assert "Traceback" not in service.log()
