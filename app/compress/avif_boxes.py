"""Takes the metadata out of AVIF files in place, since everything in them is found by its offset.

In: a whole AVIF file. Out: the same file with Exif, XMP, ICC profile and other foreign boxes
renamed and overwritten with zeros, and nothing after the last box that a picture needs. Called by
`containers`. Sources: ISO/IEC 14496-12 (boxes, iloc, infe), ISO/IEC 23008-12 (items).
"""

from collections.abc import Iterator

from app.compress.parts import Cut, Parts, Unwalkable, number

_NEEDED = frozenset((b"ftyp", b"meta", b"moov", b"mdat"))
_DESCRIPTIVE_ITEMS = frozenset((b"Exif", b"mime", b"uri "))
_PROFILES = frozenset((b"prof", b"rICC"))
_WITH_CHILDREN = frozenset((b"moov", b"trak", b"iprp", b"ipco"))
_DROPPED = frozenset((b"uuid", b"udta", b"free", b"skip"))

Box = tuple[bytes, int, int, int]


def boxes(source: bytes, start: int, end: int) -> Iterator[Box]:
    """(type, start, start of the content, end) of each box between two places."""
    at = start
    while at < end:
        size, content = number(source, at, 4), at + 8
        if size == 1:
            size, content = number(source, at + 8, 8), at + 16
        elif size == 0:
            size = end - at
        if size < content - at:
            raise Unwalkable(f"a box of {size} bytes at byte {at}")
        if at + size > end:
            raise Cut(f"the box at byte {at} ends after byte {end}")
        yield source[at + 4 : at + 8], at, content, at + size
        at += size


def without_avif_metadata(source: bytes) -> Parts:
    """The file with its metadata blanked. Raises Unwalkable.

    Nothing shows here that a blanked item shares no bytes with the picture: the caller must decode
    the result and compare.
    """
    kept_bytes = _end_of_picture(source)
    blanked = bytearray(source[:kept_bytes])
    _blank_within(source, blanked, 0, kept_bytes)
    return [bytes(blanked)]


def _end_of_picture(source: bytes) -> int:
    """The end of the last box that a picture needs; bytes that are no box may follow it."""
    end, seen = 0, set()
    try:
        for kind, _, _, box_end in boxes(source, 0, len(source)):
            if kind in _NEEDED:
                end = box_end
                seen.add(kind)
    except Unwalkable:
        if not seen >= {b"ftyp", b"meta", b"mdat"}:
            raise
    return end


def _blank_within(source: bytes, blanked: bytearray, start: int, end: int) -> None:
    for kind, box_start, content, box_end in boxes(source, start, end):
        profile = kind == b"colr" and source[content : content + 4] in _PROFILES
        if profile or kind in _DROPPED:
            _blank_box(blanked, box_start, content, box_end)
        elif kind == b"meta":
            _blank_items(source, blanked, content + 4, box_end)
            _blank_within(source, blanked, content + 4, box_end)
        elif kind in _WITH_CHILDREN:
            _blank_within(source, blanked, content, box_end)


def _blank_box(blanked: bytearray, start: int, content: int, end: int) -> None:
    """A box keeps its place as a `free` one: properties are counted, and offsets are absolute."""
    blanked[start + 4 : start + 8] = b"free"
    blanked[content:end] = bytes(end - content)


def _blank_items(source: bytes, blanked: bytearray, start: int, end: int) -> None:
    """Overwrites the bytes of items that describe the picture, and their types in the list."""
    children = {kind: (content, box_end) for kind, _, content, box_end in boxes(source, start, end)}
    if b"iinf" not in children or b"iloc" not in children:
        return
    descriptive = dict(_descriptive_items(source, *children[b"iinf"]))
    data_start = children.get(b"idat", (0, 0))[0]
    for item, offset, length in _extents(source, children[b"iloc"][0], data_start):
        if item in descriptive:
            if length == 0 or offset + length > len(blanked):
                raise Unwalkable(f"item {item} has no length or lies outside the file")
            blanked[offset : offset + length] = bytes(length)
    for entry, entry_end in descriptive.values():
        blanked[entry : entry + 4] = b"free"
        blanked[entry + 4 : entry_end] = bytes(entry_end - entry - 4)


def _descriptive_items(
    source: bytes, content: int, end: int
) -> Iterator[tuple[int, tuple[int, int]]]:
    """(item, (where its type is written, end of its entry)) of Exif, XMP and the like."""
    first_entry = content + (6 if source[content] == 0 else 8)
    for kind, _, entry, entry_end in boxes(source, first_entry, end):
        version = source[entry]
        if kind != b"infe" or version not in (2, 3):
            raise Unwalkable(f"item entry {kind!r} of version {version}")
        id_bytes = 2 if version == 2 else 4
        item = number(source, entry + 4, id_bytes)
        item_type = entry + 4 + id_bytes + 2
        if source[item_type : item_type + 4] in _DESCRIPTIVE_ITEMS:
            yield item, (item_type, entry_end)


def _extents(source: bytes, content: int, data_start: int) -> Iterator[tuple[int, int, int]]:
    """(item, offset in the file, length) of every piece of every item (14496-12, 8.11.3)."""
    version = source[content]
    sizes = number(source, content + 4, 2)
    offset_bytes, length_bytes = sizes >> 12, sizes >> 8 & 15
    base_bytes, index_bytes = sizes >> 4 & 15, sizes & 15 if version else 0
    id_bytes = 4 if version == 2 else 2
    at = content + 6 + id_bytes
    for _ in range(number(source, content + 6, id_bytes)):
        item = number(source, at, id_bytes)
        at += id_bytes
        method = number(source, at, 2) & 15 if version else 0
        at += (2 if version else 0) + 2
        base = number(source, at, base_bytes) + (data_start if method == 1 else 0)
        count = number(source, at + base_bytes, 2)
        at += base_bytes + 2
        for _ in range(count):
            offset = number(source, at + index_bytes, offset_bytes)
            length = number(source, at + index_bytes + offset_bytes, length_bytes)
            yield item, base + offset, length
            at += index_bytes + offset_bytes + length_bytes
