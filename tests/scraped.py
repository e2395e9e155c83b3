"""What Prometheus' own parser reads from a scrape."""

from prometheus_client.parser import text_string_to_metric_families

from app.metrics.meters import METERS

_LABELS = {meter.name.removesuffix("_total"): meter.labels for meter in METERS}


def samples(text):
    """Values by name and labels, these in the order of the meter and then `le`."""
    found = {}
    for family in text_string_to_metric_families(text):
        order = [*_LABELS[family.name], "le"]
        for sample in family.samples:
            values = [sample.labels[name] for name in order if name in sample.labels]
            found[sample.name, *values] = sample.value
    return found
