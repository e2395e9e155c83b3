"""`GET /download/<id>`: the output CSV in all its forms."""

import pytest

UNKNOWN = "0b9f3c1e-5a44-4c8e-9d7b-2f6a1c0e8d35"


@pytest.fixture
def finished(upload, origin, jpeg):
    """A function that runs a catalogue of one good and one broken image; its id."""

    def run(name="catalog.csv"):
        origin.serve("/a.jpg", jpeg)
        text = f"Images,Note\n{origin.url('/a.jpg')} {origin.url('/gone.jpg')},=1+1\n"
        return upload(text, name=name, headers={"Prefer": "wait=20"}).json["request_id"]

    return run


def output_url_of(client, request_id):
    images = client.get(f"/status/{request_id}?images=completed").json["images"]
    return next(iter(images.values()))["output_url"]


def test_the_output_is_an_attachment_named_for_the_input(client, finished, origin):
    request_id = finished()

    reply = client.get(f"/download/{request_id}")

    assert reply.status_code == 200
    assert reply.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert reply.headers["Content-Disposition"] == "attachment; filename=catalog-compressed.csv"
    assert int(reply.headers["Content-Length"]) == len(reply.data)
    header, row = reply.text.splitlines()
    assert header == "Images,Note,Output Image Urls,Status,Error"
    assert f',=1+1,"{output_url_of(client, request_id)},",partial,2: http_404' in row


@pytest.mark.parametrize(
    ("name", "disposition"),
    [
        ("März.csv", "filename=Marz-compressed.csv; filename*=UTF-8''M%C3%A4rz-compressed.csv"),
        ("a;b.v2.txt", 'filename="a;b.v2-compressed.csv"'),
        ("noextension", "filename=noextension-compressed.csv"),
    ],
)
def test_a_name_of_any_letters_is_kept_as_rfc_6266_has_it(client, finished, name, disposition):
    request_id = finished(name)

    reply = client.get(f"/download/{request_id}")

    assert reply.headers["Content-Disposition"] == f"attachment; {disposition}"


def test_urls_can_be_exchanged_in_place(client, finished, origin):
    request_id = finished()

    reply = client.get(f"/download/{request_id}?urls=replace")

    output_url = output_url_of(client, request_id)
    expected = f"Images,Note\n{output_url} {origin.url('/gone.jpg')},=1+1\n"
    assert reply.text == expected
    assert reply.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert "catalog-compressed.csv" in reply.headers["Content-Disposition"]


def test_formulas_can_be_made_safe_in_either_form(client, finished):
    request_id = finished()

    whole = client.get(f"/download/{request_id}?formulas=safe").text
    replaced = client.get(f"/download/{request_id}?formulas=safe&urls=replace").text

    assert ",'=1+1," in whole
    assert replaced.endswith(",'=1+1\n")


def test_what_is_done_so_far_can_be_had_at_any_time(client, unfinished, origin):
    reply = client.get(f"/download/{unfinished}?partial=true")

    assert reply.status_code == 200
    assert reply.text.splitlines()[1] == f"{origin.url('/a.jpg')},,pending,"


def test_of_an_ended_request_the_part_is_the_whole(client, finished):
    request_id = finished()

    part = client.get(f"/download/{request_id}?partial=true")

    assert part.data == client.get(f"/download/{request_id}").data


def test_urls_begin_with_the_present_base_url(client_of, settings, build_services, finished):
    request_id = finished()
    moved = settings.model_copy(update={"base_url": "https://images.example.com"})
    client = client_of(moved, build_services(moved))

    reply = client.get(f"/download/{request_id}")

    assert "https://images.example.com/processed/" in reply.text
    assert "http://127.0.0.1:8000" not in reply.text


@pytest.mark.parametrize("query", ["", "?partial=false", "?urls=replace", "?formulas=safe"])
def test_before_the_end_there_is_no_output(client, unfinished, query):
    reply = client.get(f"/download/{unfinished}{query}")

    assert reply.status_code == 404
    assert reply.json == {"error": "Output CSV not found"}


@pytest.mark.parametrize("request_id", [UNKNOWN, "catalog.csv", "..", "%00"])
@pytest.mark.parametrize("query", ["", "?partial=true"])
def test_an_unknown_id_has_no_output(client, request_id, query):
    reply = client.get(f"/download/{request_id}{query}")

    assert reply.status_code == 404
    assert reply.json == {"error": "Output CSV not found"}


@pytest.mark.plain_site
def test_an_output_that_somebody_deleted_is_404(client, finished, settings):
    request_id = finished()
    for path in settings.output_dir.rglob("*.csv"):
        path.unlink()

    assert client.get(f"/download/{request_id}").json == {"error": "Output CSV not found"}


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("partial=1", "partial: '1' is not true or false"),
        ("urls=keep", "urls: 'keep' is not replace"),
        ("formulas=no", "formulas: 'no' is not safe"),
        ("format=pdf", "format: 'pdf' is not csv or xlsx"),
        ("sort=row", "unknown query parameter 'sort': allowed are partial, urls, formulas, format"),
    ],
)
def test_a_parameter_that_does_not_fit_is_named(client, query, message):
    reply = client.get(f"/download/{UNKNOWN}?{query}")

    assert reply.status_code == 400
    assert message in reply.json["error"]


# Streaming


def test_more_streams_than_a_quarter_of_the_threads_are_503(client, finished, free_places):
    request_id = finished()
    free_places()

    streamed = client.get(f"/download/{request_id}?urls=replace")
    stored = client.get(f"/download/{request_id}")

    assert streamed.status_code == 503
    assert int(streamed.headers["Retry-After"]) > 0
    assert "too many downloads" in streamed.json["error"]
    assert stored.status_code == 200


def test_every_stream_gives_its_place_back(client, finished, free_places, settings):
    request_id = finished()

    for method in ("GET", "HEAD") * settings.web_threads:
        reply = client.open(f"/download/{request_id}?urls=replace", method=method)
        assert reply.status_code == 200

    assert free_places() == settings.web_threads // 4


@pytest.mark.plain_site
def test_what_fails_before_the_first_byte_is_told_and_gives_its_place_back(
    client, unfinished, settings, free_places
):
    (settings.upload_dir / unfinished / "upload").unlink()

    for _ in range(settings.web_threads):
        reply = client.get(f"/download/{unfinished}?partial=true")
        assert (reply.status_code, reply.json) == (404, {"error": "Output CSV not found"})

    assert free_places() == settings.web_threads // 4


def test_a_caller_who_hangs_up_midway_gives_its_place_back(client, finished, free_places, settings):
    request_id = finished()

    for _ in range(settings.web_threads):
        reply = client.get(f"/download/{request_id}?urls=replace", buffered=False)
        next(iter(reply.response))
        reply.close()

    assert free_places() == settings.web_threads // 4


def test_a_broken_off_download_can_go_on(client, finished):
    request_id = finished()
    whole = client.get(f"/download/{request_id}").data

    rest = client.get(f"/download/{request_id}", headers={"Range": "bytes=10-"})
    beyond = client.get(f"/download/{request_id}", headers={"Range": "bytes=99999-"})

    assert (rest.status_code, rest.data) == (206, whole[10:])
    assert beyond.status_code == 416
    assert beyond.headers["Content-Range"] == f"bytes */{len(whole)}"
    assert beyond.json["error"]
