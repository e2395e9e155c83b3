"""What the user gets: bytes, likeness and CPU of every format, beside other services' defaults.

`python -m benchmarks.quality` runs it; docs/quality.md says how it measures, and holds the tables.
"""
