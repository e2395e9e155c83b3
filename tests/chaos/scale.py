"""Which form of the trials runs: a short one within seconds, or all of it with `CHAOS=long`."""

import os

IS_LONG = os.environ.get("CHAOS") == "long"
SEED = int(os.environ.get("CHAOS_SEED", "20260131"))
"""Of every random moment; printed with a trial that fails, and kept with its figures."""
