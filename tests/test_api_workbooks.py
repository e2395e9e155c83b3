"""Excel workbooks over the API: what goes out as one, and what comes in."""

import csv
import io
import threading

import pytest
from python_calamine import CalamineWorkbook

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
