"""img2dataset's own command, whose processes begin to download together.

    python together.py FOLDER PROCESSES URL_LIST [img2dataset's options]

Run with img2dataset's Python, and imported by every process that it starts. Without it the first
would download while the others still import, and that time would be counted against it.
"""

import os
import sys
import time
from pathlib import Path

import fire
from img2dataset import download
from img2dataset.downloader import Downloader

LONGEST_WAIT_SECONDS = 60
POLL_SECONDS = 0.005

folder, processes = Path(sys.argv[1]), int(sys.argv[2])
download_shard = Downloader.download_shard


def download_shard_together(downloader, row):
    """Each process has one shard; its clock starts in the call at the end."""
    (folder / f"ready-{os.getpid()}").touch()
    give_up_at = time.monotonic() + LONGEST_WAIT_SECONDS
    while len(list(folder.glob("ready-*"))) < processes and time.monotonic() < give_up_at:
        time.sleep(POLL_SECONDS)
    return download_shard(downloader, row)


Downloader.download_shard = download_shard_together

if __name__ == "__main__":
    fire.Fire(download, command=sys.argv[3:])
