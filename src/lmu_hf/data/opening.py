"""Files as text: whatever compressed them, and in the encoding that their first bytes or a flag say."""

import bz2
import codecs
import gzip
import io
import lzma
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import IO, Any

from ..common.errors import InputError, as_typed

DELIMITED, JSON = (".csv", ".tsv", ".txt"), (".json", ".jsonl", ".ndjson")
KINDS = (*DELIMITED, *JSON, ".parquet", ".xlsx")
COMPRESSED = (".gz", ".bz2", ".xz", ".zip", ".zst")
# The first bytes decide, not the ending: a browser that unpacks what it fetches leaves the ending as it was.
MAGIC = {b"\x1f\x8b": "gz", b"BZh": "bz2", b"\xfd7zXZ\x00": "xz", b"PK\x03\x04": "zip", b"\x28\xb5\x2f\xfd": "zst"}
# UTF-32 first: its little-endian mark begins with that of UTF-16.
MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
SAMPLE = 2**16  # bytes that are looked at for signs that a file is no text


def check_file(path: Path, flag: str) -> None:
    """Refuse, before anything is read, a path that names no file with something in it.

    Raises:
        FileNotFoundError: it does not exist.
        InputError: it is a folder, or empty.
    """
    if path.is_dir():
        raise InputError(f"{path} is a folder: {as_typed(flag)} must name a file")
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}: {as_typed(flag)} must name one")
    if path.stat().st_size == 0:
        raise InputError(f"{path} is empty: {as_typed(flag)} must hold rows")


def is_table(path: Path) -> bool:
    """Whether a file's ending says that it holds rows with columns; plain text (.txt) may and is none."""
    return kind_of(path) in KINDS and kind_of(path) != ".txt"


def kind_of(path: Path) -> str:
    """The ending that says what a file holds, in lower case and without that of a compression: ``.csv``.

    Of an archive that is named after no kind (``reviews.zip``), the ending of the one file in it.
    """
    name = PurePath(path.name.lower())
    if name.suffix not in COMPRESSED:
        return name.suffix
    kind = PurePath(name.stem).suffix
    if not kind and name.suffix == ".zip" and zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            kind = PurePath(_only_member(path, archive).lower()).suffix
    return kind


def _only_member(path: Path, archive: zipfile.ZipFile) -> str:
    # macOS writes a shadow file for each that it packs.
    names = [name for name in archive.namelist() if not name.endswith("/") and not name.startswith("__MACOSX/")]
    if len(names) != 1:
        there = ", ".join(names[:5]) or "nothing"
        raise InputError(f"{path} must hold one file, it holds {there}: unpack it and name one")
    return names[0]


@contextmanager
def open_bytes(path: Path) -> Iterator[IO[bytes]]:
    """A file's bytes, unpacked as they are read.

    Raises:
        InputError: what compressed it cannot be undone.
    """
    with path.open("rb") as file:
        start = file.read(8)
    packed = next((name for magic, name in MAGIC.items() if start.startswith(magic)), None)
    try:
        with _unpacked(path, packed) as opened:
            yield opened
    # What these raise on damaged files; zstd is read by pyarrow, whose errors are OSErrors.
    except (EOFError, zipfile.BadZipFile, lzma.LZMAError, gzip.BadGzipFile, zlib.error) as error:
        raise InputError(f"{path} cannot be unpacked as {packed}: {error}") from error
    except OSError as error:
        if error.errno is not None or packed is None:
            raise
        raise InputError(f"{path} cannot be unpacked as {packed}: {error}") from error


@contextmanager
def _unpacked(path: Path, packed: str | None) -> Iterator[IO[bytes]]:
    if packed == "zip":
        with zipfile.ZipFile(path) as archive, archive.open(_only_member(path, archive)) as member:
            yield member
    elif packed == "zst":
        import pyarrow  # which `datasets` brings, and with it zstd

        with pyarrow.input_stream(str(path), compression="zstd") as stream:
            yield io.BufferedReader(stream)
    else:
        openers: dict[str | None, Callable[..., Any]] = {"gz": gzip.open, "bz2": bz2.open, "xz": lzma.open}
        with openers.get(packed, open)(path, "rb") as file:
            yield file


@contextmanager
def open_text(path: Path, encoding: str | None = None, newline: str | None = None) -> Iterator[io.TextIOWrapper]:
    r"""A file's text, unpacked and decoded as it is read, without its byte order mark.

    Args:
        path: the file.
        encoding: of its text; None for what a byte order mark says, or else UTF-8.
        newline: as `open` takes it: None turns every kind of line break into ``\n``, ``""`` leaves them.

    Raises:
        InputError: there is no such encoding, or the text is not in it; the message names the line.
    """
    found = encoding_of(path) if encoding is None else _known(encoding)
    try:
        with open_bytes(path) as file, io.TextIOWrapper(file, encoding=found, newline=newline) as text:
            yield text
    except UnicodeError as error:
        raise InputError(_complaint(path, found, encoding is not None)) from error


def encoding_of(path: Path) -> str:
    """What a file's byte order mark says; UTF-8 where it has none.

    Raises:
        InputError: it has none and holds NUL bytes, as UTF-16 without a mark and files that are no text do.
    """
    with open_bytes(path) as file:
        start = file.read(SAMPLE)
    for mark, name in MARKS.items():
        if start.startswith(mark):
            return name
    if b"\0" in start:
        raise InputError(f"{path} is no UTF-8 text: if it is UTF-16, give --encoding utf-16-le; else save it as text")
    return "utf-8"


def _known(encoding: str) -> str:
    try:
        found = codecs.lookup(encoding).name
    except LookupError as error:
        raise InputError(
            f"--encoding {encoding} is none that Python knows: utf-8, cp1252 and utf-16 are some"
        ) from error
    # A mark is none of the text's characters, whoever names the encoding.
    return "utf-8-sig" if found == "utf-8" else found


def _complaint(path: Path, encoding: str, given: bool) -> str:
    """Where the text stops to be in an encoding: its file is read once more, up to there."""
    decoder, line = codecs.getincrementaldecoder(encoding)(), 1
    with open_bytes(path) as file:
        while True:
            piece = file.read(SAMPLE)
            try:
                line += decoder.decode(piece, final=not piece).count("\n")
            except UnicodeError as error:
                start = getattr(error, "start", 0)
                line += bytes(getattr(error, "object", b""))[:start].count(b"\n")
                break
            if not piece:
                break
    wanted = encoding.removesuffix("-sig").upper()
    what = "give its own" if given else "give its own, such as cp1252 of Excel in Western Europe"
    return f"{path}, line {line}, is not {wanted}: --encoding must name the file's encoding; {what}"
