"""Starts the service: `python run.py`, until stopped; `python run.py --demo`, for one whole job."""

import os
import sys

HEAP = ":".join(
    f"glibc.malloc.{setting}"
    for setting in (
        "tcache_count=0",
        "arena_max=1",
        "mmap_threshold=1048576",
        "trim_threshold=1048576",
    )
)
"""Every thread would keep freed memory of its own, and dozens of threads for months ever more.
Pictures lie outside the heap, which the small things that outlive them would else hold open."""


def main() -> int:
    """The exit code. glibc reads settings of its heap only when a process begins."""
    if sys.platform == "linux" and "GLIBC_TUNABLES" not in os.environ:
        os.environ["GLIBC_TUNABLES"] = HEAP
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 (ourselves)
    from app import serving  # imported once, by the process that stays

    return serving.main()


if __name__ == "__main__":
    sys.exit(main())
