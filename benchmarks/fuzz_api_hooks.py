"""Loaded by schemathesis: what it uploads, since no schema tells what a catalogue is.

Nothing here is dialled: the service under test has a proxy on loopback for all hosts.
"""

import schemathesis
from hypothesis import strategies as st

_URLS = st.one_of(
    st.just("http://127.0.0.1:8000/samples/cat-240.jpg"),
    st.from_regex(r"https?://[a-z]{1,8}\.example/[a-z0-9]{1,8}\.jpg", fullmatch=True),
    st.text(max_size=20),
)
_ROWS = st.lists(
    st.tuples(st.text(max_size=8), _URLS).map(lambda row: '"{}","{}"'.format(*row)), max_size=5
)
_CATALOGUES = st.builds(
    lambda header, rows: "\n".join([header, *rows, ""]).encode(errors="replace"),
    st.sampled_from(["SKU,Images", "sku;image_link", "Images", "Name,Price"]),
    _ROWS,
)

schemathesis.openapi.media_type("text/csv", st.one_of(_CATALOGUES, st.binary(max_size=200)))
