"""The pictures to compress: parts of the photographs in samples/originals, never enlarged.

In: a folder and a count. Out: the same JPEG files every time, made once. A photograph is a mosaic
of parts at their own size, since the originals are smaller; a thumbnail is one part.
"""

import itertools
import random
import shutil
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from multiprocessing import get_context
from pathlib import Path

from PIL import Image

ORIGINALS = Path(__file__).resolve().parents[1] / "samples" / "originals"
SEED = 20260131
SHORTEST_SIDE = 800
THUMBNAIL_SIDE = 300
TILE_SIDES = (250, 450)
QUALITIES = (85, 95)
SUBSAMPLINGS = ("4:2:0", "4:4:4")


@dataclass(frozen=True)
class Corpus:
    """Files `<folder>/<number>.jpg`; `name` is the folder's, as the origin serves it."""

    folder: Path
    count: int

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def paths(self) -> list[Path]:
        return [self.folder / f"{number}.jpg" for number in range(self.count)]

    def urls(self, prefix: str, count: int | None = None) -> list[str]:
        """As many different URLs below `prefix`; beyond the files' number with a query."""
        rounds = (
            f"{prefix}/{self.name}/{number}.jpg" + (f"?{again}" if again else "")
            for again in itertools.count()
            for number in range(self.count)
        )
        return list(itertools.islice(rounds, count or self.count))


def photographs(root: Path, count: int, *, longest_side: int) -> Corpus:
    """800 to `longest_side` pixels wide and high."""
    folder = root / f"photographs-{count}-{longest_side}"
    return _made(folder, count, partial(_write_photograph, longest_side=longest_side))


def thumbnails(root: Path, count: int) -> Corpus:
    """300 pixels wide and high."""
    return _made(root / f"thumbnails-{count}", count, _write_thumbnail)


def padded(pictures: Corpus, size_bytes: int) -> Corpus:
    """A photograph that is as heavy as a camera's, though no longer to code: zeros follow it."""
    folder = pictures.folder.with_name(f"heavy-{size_bytes}")
    return _made(folder, 1, partial(_write_padded, pictures.paths[0], size_bytes))


def _write_padded(picture: Path, size_bytes: int, folder: Path, number: int) -> None:
    (folder / f"{number}.jpg").write_bytes(picture.read_bytes().ljust(size_bytes, b"\0"))


def _made(folder: Path, count: int, write: Callable[[Path, int], None]) -> Corpus:
    """A folder that is there is whole: it gets its name last."""
    if not folder.is_dir():
        unfinished = folder.with_name(f"{folder.name}.part")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
            list(pool.map(partial(write, unfinished), range(count), chunksize=20))
        unfinished.rename(folder)
    return Corpus(folder, count)


def _write_photograph(folder: Path, number: int, *, longest_side: int) -> None:
    dice = random.Random(f"photograph {SEED} {number}")
    picture = Image.new("RGB", [dice.randint(SHORTEST_SIDE, longest_side) for _ in range(2)])
    side = dice.randint(*TILE_SIDES)
    for top in range(0, picture.height, side):
        for left in range(0, picture.width, side):
            picture.paste(_part(dice, side), (left, top))
    _save(picture, folder, number, dice)


def _write_thumbnail(folder: Path, number: int) -> None:
    dice = random.Random(f"thumbnail {SEED} {number}")
    _save(_part(dice, THUMBNAIL_SIDE), folder, number, dice)


def _part(dice: random.Random, side: int) -> Image.Image:
    """A square of one of the photographs that are large enough for it."""
    photograph = dice.choice([one for one in _originals() if min(one.size) >= side])
    left = dice.randint(0, photograph.width - side)
    top = dice.randint(0, photograph.height - side)
    return photograph.crop((left, top, left + side, top + side))


def _save(picture: Image.Image, folder: Path, number: int, dice: random.Random) -> None:
    picture.save(
        folder / f"{number}.jpg",
        quality=dice.randint(*QUALITIES),
        subsampling=dice.choice(SUBSAMPLINGS),
    )


@cache
def _originals() -> list[Image.Image]:
    paths = [path for path in sorted(ORIGINALS.iterdir()) if path.suffix in (".jpg", ".png")]
    pictures = [Image.open(path).convert("RGB") for path in paths]
    for picture in pictures:
        picture.info.clear()  # or a thumbnail would carry its profile and comments along
    return pictures
