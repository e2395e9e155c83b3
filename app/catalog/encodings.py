"""Bytes of an upload → the name of their encoding, called by `reading.open_catalog`.

A byte-order mark decides; without one it is UTF-8 if every byte of the file is, else Windows-1252.
Guessing from statistics was tried and took Windows-1252 for hp_roman8.
"""

import codecs
import io
from typing import BinaryIO

from app.errors import BadCatalog

_CHUNK_BYTES = 1 << 18


def find_encoding(file: BinaryIO) -> str:
    """Return `utf-8`, `utf-8-sig` (with a mark), `utf-16` (always with a mark) or `cp1252`.

    Reads the whole file once or twice, a chunk at a time: the first byte that is not ASCII may
    be the last. Raises `BadCatalog` with the line for NUL bytes and for what is no text.
    """
    candidates = _candidates(file)
    for encoding in candidates:
        line = _undecodable_line(file, encoding)
        if line is None:
            return encoding
    raise BadCatalog(
        f"line {line}: the file is not text in {' or '.join(map(_spoken, candidates))}: "
        "upload a CSV, saved as CSV UTF-8, or an Excel workbook (.xlsx)"
    )


def _candidates(file: BinaryIO) -> tuple[str, ...]:
    file.seek(0)
    start = file.read(3)
    if start == codecs.BOM_UTF8:
        return ("utf-8-sig",)
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return ("utf-16",)
    return ("utf-8", "cp1252")


def _spoken(encoding: str) -> str:
    return {"utf-8-sig": "UTF-8", "utf-8": "UTF-8", "utf-16": "UTF-16"}.get(
        encoding, "Windows-1252"
    )


def _undecodable_line(file: BinaryIO, encoding: str) -> int | None:
    """Return the line of the first byte that is not `encoding`, or None when all are."""
    decoder = io.IncrementalNewlineDecoder(codecs.getincrementaldecoder(encoding)(), translate=True)
    file.seek(0)
    lines_before = 0
    while True:
        chunk = file.read(_CHUNK_BYTES)
        try:
            text = decoder.decode(chunk, final=not chunk)
        except UnicodeDecodeError as error:
            # bytes.splitlines knows \n, \r and \r\n only, as a CSV reader does
            return lines_before + len((error.object[: error.start] + b"?").splitlines())
        _refuse_nul(text, lines_before)
        if not chunk:
            return None
        lines_before += text.count("\n")


def _refuse_nul(text: str, lines_before: int) -> None:
    place = text.find("\0")
    if place >= 0:
        line = lines_before + text.count("\n", 0, place) + 1
        raise BadCatalog(
            f"line {line}: the file holds a NUL byte, so it is damaged or not a text file: "
            "save it as CSV UTF-8 (UTF-16 needs a byte-order mark)"
        )
