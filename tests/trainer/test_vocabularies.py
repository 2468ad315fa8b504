"""Which values a vocabulary keeps where it can't keep all."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

from pipeline.launching.vocabularies import vocabularies
from trainer.problem import Problem


def test_the_most_frequent_values_are_kept_though_none_is_frequent(prepare: Any) -> None:
    pick = random.Random(5)
    values = [f"k{number}" for number in range(23)]
    problem = Problem.model_validate(
        {
            "features": [
                {"kind": "categorical", "name": "near", "vocabulary": {"max_size": 8}},
                {"kind": "integer", "name": "code", "vocabulary": {"max_size": 5}},
            ],
            "label": {"column": "y"},
            "task": "binary",
        }
    )
    rows = [
        {"near": pick.choice(values), "code": pick.randint(0, 40), "y": number % 2}
        for number in range(3000)
    ]
    kept = vocabularies(prepare(problem, rows, rows[:9]).transform_graph)
    for name, key, size in (("near", "near_categorical", 8), ("code", "code_integer", 5)):
        counts = Counter(str(row[name]).encode() for row in rows)
        # Equally frequent ones in reverse order, TFT's rule.
        ranked = sorted(counts, key=lambda value: (counts[value], value), reverse=True)
        assert kept[key] == ranked[:size]
