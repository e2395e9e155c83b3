"""What a trial's services have stored, wherever that is: by key, as the service names it.

Temporary files are among it. Leftovers are removed by their age: those in folders are made old,
those in a bucket have to become so.
"""

import os
import time
from contextlib import suppress

import obstore

from app.storage import s3
from app.storage.s3 import AREAS

AGE_SECONDS = 3600


class Folders:
    can_age = True

    def __init__(self, folder):
        self._folder = folder

    def keys(self, prefix):
        return [key for key in self._keys() if key.startswith(prefix)]

    def read(self, key):
        return (self._folder / key).read_bytes()

    def owners(self, area):
        """The requests that have something there, be it an empty folder."""
        return {path.name for path in (self._folder / area).iterdir()} - {".gitkeep"}

    def age(self):
        long_ago = time.time() - AGE_SECONDS
        for key in self._keys():
            with suppress(FileNotFoundError):
                os.utime(self._folder / key, (long_ago, long_ago))

    def _keys(self):
        for area in AREAS:
            for path in (self._folder / area).rglob("*"):
                if path.is_file():
                    yield path.relative_to(self._folder).as_posix()


class Objects:
    can_age = False

    def __init__(self, bucket):
        self._store = s3._connect(bucket)

    def keys(self, prefix):
        return [found["path"] for page in obstore.list(self._store, prefix) for found in page]

    def read(self, key):
        return obstore.get(self._store, key).bytes().to_bytes()

    def owners(self, area):
        return {key.split("/")[1] for key in self.keys(area)}
