"""Starts the service: `python run.py`, until stopped; `python run.py --demo`, for one whole job."""

import os
import sys

MEMORY = {
    "GLIBC_TUNABLES": "glibc.malloc.tcache_count=0:glibc.malloc.arena_max=1"
    ":glibc.malloc.mmap_threshold=1048576:glibc.malloc.trim_threshold=1048576",
    "PILLOW_BLOCKS_MAX": "4",
}
"""Every thread would keep freed memory of its own, and dozens of threads for months ever more.
Large pictures lie outside the heap, which small things that outlive them would else hold open;
Pillow keeps a few of their blocks, since memory that is new to a process costs a tenth of a photo.
"""


def main() -> int:
    """The exit code. glibc reads settings of its heap only when a process begins."""
    if sys.platform == "linux" and "GLIBC_TUNABLES" not in os.environ:
        os.environ.update(MEMORY)
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 (ourselves)
    from app import serving  # imported once, by the process that stays

    return serving.main()


if __name__ == "__main__":
    sys.exit(main())
