"""Statistics of a data set as tables: one row per column, numbers and texts apart."""

from __future__ import annotations

from typing import Any

from pipeline.report import fragments, payload

__all__ = ["parts"]

_FILE = "FeatureStats.pb"
_TOP_VALUES = 4


def parts(uri: str) -> list[str]:
    """Makes the tables of every split below a statistics artifact.

    Raises:
        OSError: the statistics can't be read.
    """
    from tensorflow_metadata.proto.v0 import statistics_pb2

    made: list[str] = []
    for split in payload.splits(uri):
        read = statistics_pb2.DatasetFeatureStatisticsList.FromString(
            payload.read_bytes(uri, f"Split-{split}/{_FILE}")
        )
        for dataset in read.datasets:
            made.append(fragments.heading(f"{split}: {dataset.num_examples:,} rows"))
            made += _tables(dataset)
    return made


def _tables(dataset: Any) -> list[str]:
    numbers: list[tuple[object, ...]] = []
    texts: list[tuple[object, ...]] = []
    marked_numbers, marked_texts = [], []
    total = dataset.num_examples or 1
    for feature in sorted(dataset.features, key=_name):
        name = _name(feature)
        kind = feature.WhichOneof("stats")
        stats = getattr(feature, kind)
        missing = 1 - stats.common_stats.num_non_missing / total
        if kind == "num_stats":
            if missing > 0.5:
                marked_numbers.append((len(numbers), 1))
            numbers.append(
                (
                    name,
                    f"{missing:.1%}",
                    f"{stats.num_zeros / total:.1%}",
                    float(stats.min),
                    float(stats.median),
                    float(stats.mean),
                    float(stats.max),
                    float(stats.std_dev),
                )
            )
        elif kind == "string_stats":
            if missing > 0.5:
                marked_texts.append((len(texts), 1))
            top = [
                f"{each.value} ({each.frequency / total:.0%})"
                for each in stats.top_values[:_TOP_VALUES]
            ]
            texts.append((name, f"{missing:.1%}", stats.unique, ", ".join(top)))
    made = []
    if numbers:
        header = ("column", "missing", "zero", "min", "median", "mean", "max", "deviation")
        made.append(fragments.table(header, numbers, marked=marked_numbers))
    if texts:
        header_texts = ("column", "missing", "distinct", "most frequent")
        made.append(fragments.table(header_texts, texts, marked=marked_texts))
    return made


def _name(feature: Any) -> str:
    return feature.name or ".".join(feature.path.step)
