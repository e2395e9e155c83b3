"""Excel workbooks over the API: what goes out as one, and what comes in."""

import csv
import io
import threading

import pytest
from python_calamine import CalamineWorkbook

from tests.workbooks import archive, workbook

WORKBOOK = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"


@pytest.fixture
def text(origin, jpeg):
    """A catalogue of one good and one broken image, a formula and a number."""
    origin.serve("/a.jpg", jpeg)
    images = f"{origin.url('/a.jpg')} {origin.url('/gone.jpg')}"
    return f"SKU,Images,Note\n007,{images},=1+1\n"


@pytest.fixture
def finished(upload, text):
    return upload(text, headers={"Prefer": "wait=20"}).json["request_id"]


@pytest.fixture
def permits(client):
    return client.application.extensions["pressroom_slots"]


def rows_of(reply):
    assert reply.status_code == 200, reply.text
    return list(
        CalamineWorkbook.from_filelike(io.BytesIO(reply.data)).get_sheet_by_index(0).iter_rows()
    )


def cells_of(reply):
    return list(csv.reader(reply.text.splitlines()))


def test_the_output_can_be_had_as_a_workbook(client, finished):
    reply = client.get(f"/download/{finished}?format=xlsx")

    assert rows_of(reply) == cells_of(client.get(f"/download/{finished}"))
    assert reply.headers["Content-Type"] == WORKBOOK
    assert reply.headers["Content-Disposition"] == "attachment; filename=catalog-compressed.xlsx"
    assert int(reply.headers["Content-Length"]) == len(reply.data)


@pytest.mark.parametrize("query", ["urls=replace", "formulas=safe", "urls=replace&formulas=safe"])
def test_a_workbook_holds_what_the_csv_would(client, finished, query):
    workbook = client.get(f"/download/{finished}?format=xlsx&{query}")

    assert rows_of(workbook) == cells_of(client.get(f"/download/{finished}?{query}"))


def test_what_is_done_so_far_can_be_had_as_a_workbook(client, upload, origin, jpeg):
    origin.serve("/b.jpg", jpeg, gate=threading.Event())
    request_id = upload(f"Images\n{origin.url('/b.jpg')}\n").json["request_id"]

    early = client.get(f"/download/{request_id}?format=xlsx")
    part = client.get(f"/download/{request_id}?format=xlsx&partial=true")

    assert (early.status_code, early.json) == (404, {"error": "Output CSV not found"})
    assert rows_of(part)[1][2] == "pending"


def test_what_no_workbook_can_hold_is_400_and_still_there_as_csv(client, upload, text):
    long = text.replace("=1+1", "a" * 40_000)
    request_id = upload(long, headers={"Prefer": "wait=20"}).json["request_id"]

    reply = client.get(f"/download/{request_id}?format=xlsx")

    assert reply.status_code == 400
    assert reply.json["error"].startswith("row 1, column 'Note': the cell has 40,000 characters")
    assert client.get(f"/download/{request_id}").status_code == 200


def test_workbooks_hold_slots_only_while_they_are_written(client, finished, permits, settings):
    for method in ("GET", "HEAD") * settings.web_threads:
        reply = client.open(f"/download/{finished}?format=xlsx", method=method)
        assert reply.status_code == 200
    for _ in range(settings.web_threads // 4):
        assert permits.acquire(blocking=False)

    reply = client.get(f"/download/{finished}?format=xlsx")

    assert reply.status_code == 503
    assert int(reply.headers["Retry-After"]) > 0


# Uploads


@pytest.fixture
def send(client):
    """A function that uploads bytes, and returns the reply."""

    def send(data, name="catalog.xlsx", headers=None, **fields):
        file = (io.BytesIO(data), name)
        headers = {"Prefer": "wait=20"} | (headers or {})
        return client.post("/upload", data={"file": file, **fields}, headers=headers)

    return send


@pytest.fixture
def rows(origin, jpeg):
    origin.serve("/a.jpg", jpeg)
    return [["SKU", "Images"], ["007", origin.url("/a.jpg")], [4006381333931, origin.url("/no")]]


def test_an_uploaded_workbook_is_the_same_as_its_csv(client, send, rows):
    request_id = send(workbook(rows)).json["request_id"]

    reply = client.get(f"/download/{request_id}")
    assert reply.headers["Content-Disposition"] == "attachment; filename=catalog-compressed.csv"
    assert reply.data.startswith(b"\xef\xbb\xbfSKU,Images,Output Image Urls,Status,Error\r\n")
    assert [cells[0] for cells in cells_of(reply)[1:]] == ["007", "4006381333931"]
    assert [cells[3] for cells in cells_of(reply)[1:]] == ["completed", "failed"]
    assert client.get(f"/status/{request_id}").json["filename"] == "catalog.xlsx"


@pytest.mark.parametrize("name", ["catalog.csv", "no ending", "catalog.xls"])
def test_a_workbook_is_told_from_its_bytes_not_from_its_name(send, rows, name):
    assert send(workbook(rows), name).json["progress"]["total"] == 2


def test_a_csv_that_is_called_a_workbook_is_a_csv(send, text):
    assert send(text.encode(), "catalog.xlsx").json["progress"]["total"] == 2


@pytest.mark.parametrize("query", ["", "format=xlsx"])
def test_an_output_that_is_uploaded_again_has_its_columns_replaced_in_place(
    client, send, rows, query
):
    data = workbook([*rows, ["", ""], ["2\n3", rows[1][1]]])
    first = client.get(f"/download/{send(data).json['request_id']}?{query}").data

    again = send(first).json["request_id"]

    header, *found = rows_of(client.get(f"/download/{again}?format=xlsx"))
    assert header == ["SKU", "Images", "Output Image Urls", "Status", "Error"]
    assert [cells[0] for cells in found] == ["007", "4006381333931", "2\n3"]
    assert all(again in cells[2] for cells in (found[0], found[2]))


def test_faults_are_told_by_the_rows_of_the_sheet(send, rows):
    found = [["My\nshop"], *rows, ["1", "ftp://h/a.jpg"]]

    reply = send(workbook(found), dry_run="true")

    assert reply.json["rows"] == 3
    assert [(fault["row"], fault["line"]) for fault in reply.json["details"]] == [(3, 5)]


def test_nothing_of_a_refused_workbook_is_kept(send, database, settings):
    reply = send(workbook([["SKU", "Foto"], ["1", "a.jpg"]]))

    assert reply.status_code == 400
    assert (
        "no image column in the first 5 lines: found the headers 'SKU', 'Foto'"
        in reply.json["error"]
    )
    assert not [path for path in settings.upload_dir.rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (bytes.fromhex("d0cf11e0a1b11ae1") + bytes(504), "save it as .xlsx without a password"),
        (archive([("catalog.csv", "Images\n")]), "upload the CSV or .xlsx file itself"),
        (workbook([["Images"]])[:1_000], "the workbook is damaged"),
    ],
)
def test_what_is_no_workbook_to_read_is_400_with_what_to_do(send, data, message):
    reply = send(data)

    assert reply.status_code == 400
    assert message in reply.json["error"]


def test_the_same_workbook_under_the_same_key_is_the_same_request(send, rows):
    data = workbook(rows)
    key = {"Idempotency-Key": "k"}

    first, again = send(data, headers=key), send(data, headers=key)
    other = send(workbook(rows[:2]), headers=key)

    assert first.json["request_id"] == again.json["request_id"]
    assert other.status_code == 409
