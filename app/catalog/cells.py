"""One image cell → the places of its URLs in it. Called by `reading` and `writing`.

Places, not strings, so that a URL can be exchanged and everything around it stays.

Separators are `,` `|` `;` and white space, and part only before a scheme (`xxx://`) or before
`//host.name/`: a comma inside a URL is kept. With a `base_url` cells may hold relative paths, which
have no scheme: then separators part before a `/` as well, and a piece that begins with neither a
scheme nor `//` is parted at every `,` `|` `;`, tab and line break (not at blanks: file names hold
them). What stays ambiguous is a path without a leading slash behind a URL
(`https://h/a.jpg,b.jpg`): one URL.
`\\,` is a comma and never parts (WooCommerce writes it so).
"""

import re

# The look-behind makes a run of separators be tried once, from its start, and `++` from its end
# only once; without them the time for a cell of blanks grows with the square of their number.
_RUN = r"(?<![,|;\s])[,|;\s]++"
_SCHEME = r"[A-Za-z][A-Za-z0-9+.-]*:"
_HOST = r"[^\s/,|;.]+\.[^\s/,|;]+"
_BEFORE_URL = re.compile(rf"{_RUN}(?={_SCHEME}//|//{_HOST}/)")
_BEFORE_URL_OR_PATH = re.compile(rf"{_RUN}(?=(?:{_SCHEME}/)?/)")
_ABSOLUTE = re.compile(rf"{_SCHEME}|//")
_PATH = re.compile(r"[^,|;\t\r\n]+")
_TRIMMED = re.compile(r"[^,|;\s](?:.*[^,|;\s])?", re.DOTALL)

# Same length, so that places stay right; NUL never stands in a file that was read.
_ESCAPED_COMMA, _MASK = "\\,", "\0\0"

# Magento writes this into the image cells of a product that has none.
_NOTHING = "no_selection"


def url_places(cell: str, *, relative: bool) -> list[tuple[int, int]]:
    """Return (start, end) of every URL in `cell`, in order; empty pieces have no place.

    `relative` says that there is a `base_url`, so that relative paths are expected.
    """
    masked = cell.replace(_ESCAPED_COMMA, _MASK)
    separator = _BEFORE_URL_OR_PATH if relative else _BEFORE_URL
    places = []
    start = 0
    for found in separator.finditer(masked):
        places += _in_piece(masked, start, found.start(), relative)
        start = found.end()
    places += _in_piece(masked, start, len(masked), relative)
    return [place for place in places if cell[slice(*place)] != _NOTHING]


def url_at(cell: str, place: tuple[int, int]) -> str:
    """Return the URL at a place of `cell`, as written but for the escaped commas."""
    return cell[slice(*place)].replace(_ESCAPED_COMMA, ",")


def _in_piece(masked: str, start: int, end: int, relative: bool) -> list[tuple[int, int]]:
    trimmed = _TRIMMED.search(masked, start, end)
    if trimmed is None:
        return []
    if not relative or _ABSOLUTE.match(masked, trimmed.start()):
        return [trimmed.span()]
    paths = (_TRIMMED.search(masked, *path.span()) for path in _PATH.finditer(masked, start, end))
    return [path.span() for path in paths if path]
