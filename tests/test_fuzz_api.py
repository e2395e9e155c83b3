"""schemathesis over /openapi.json, for a few seconds; `make fuzz-api` takes longer."""

from benchmarks.fuzz_api import fuzz

EXAMPLES = 5


def test_whatever_is_called_however_is_answered_as_described(tmp_path):
    found = fuzz(tmp_path, EXAMPLES)

    assert found.failures == [], found.output
    assert found.operations >= 18
    assert found.calls > 300
    assert "request failed" not in found.log
