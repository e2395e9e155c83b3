"""`python -m benchmarks`; imports little, since each process of a pool imports it too."""

import sys

if __name__ == "__main__":
    from benchmarks.command import main

    sys.exit(main())
