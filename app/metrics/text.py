"""A snapshot → the text that Prometheus reads. Called by `api.metrics`."""

from collections.abc import Iterator
from itertools import accumulate

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector, CollectorRegistry

from app.metrics import Snapshot
from app.metrics.meters import METERS, Kind, Meter

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def text_of(snapshot: Snapshot) -> bytes:
    """As CONTENT_TYPE says, which every version of Prometheus reads."""
    registry = CollectorRegistry()
    registry.register(_Families(snapshot))
    return generate_latest(registry)


class _Families(Collector):
    """Every meter, those without a value as well."""

    def __init__(self, snapshot: Snapshot):
        self._snapshot = snapshot

    def collect(self) -> Iterator[Metric]:
        for meter in METERS:
            yield self._family(meter)

    def _family(self, meter: Meter) -> Metric:
        match meter.kind:
            case Kind.COUNTER:
                counter = CounterMetricFamily(meter.name, meter.help, labels=meter.labels)
                for labels, values in self._counts(meter):
                    counter.add_metric(labels, values[0])
                return counter
            case Kind.HISTOGRAM:
                histogram = HistogramMetricFamily(meter.name, meter.help, labels=meter.labels)
                for labels, values in self._counts(meter):
                    histogram.add_metric(labels, _buckets(meter, values), values[-1])
                return histogram
            case Kind.GAUGE:
                gauge = GaugeMetricFamily(meter.name, meter.help, labels=meter.labels)
                for (name, labels), value in self._snapshot.gauges.items():
                    if name == meter.name:
                        gauge.add_metric(labels, value)
                return gauge

    def _counts(self, meter: Meter) -> Iterator[tuple[tuple[str, ...], list[float]]]:
        for (name, labels), values in self._snapshot.counts.items():
            if name == meter.name:
                yield labels, values


def _buckets(meter: Meter, values: list[float]) -> list[tuple[str, float]]:
    """Each with all that is below its bound, as Prometheus has them."""
    bounds = [*map(str, map(float, meter.bounds)), "+Inf"]
    return list(zip(bounds, accumulate(values[:-1]), strict=True))
