"""What preprocessing's columns are called in the data, and so whether their values are shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.report import fragments
from pipeline.report.section import masked_columns
from pipeline.report.step_settings import step_settings
from trainer.problem import Problem, safe_name

if TYPE_CHECKING:
    from pipeline.history.run_history import Run

__all__ = ["RawColumns"]


@dataclass(frozen=True)
class RawColumns:
    """The columns that preprocessing made and those that they were made from.

    Attributes:
        names: raw columns by the keys of what they became, in the order of the features; empty
            where preprocessing is code of one's own.
        masked: raw columns whose values are not shown.
    """

    names: Mapping[str, str]
    masked: frozenset[str]

    @classmethod
    def of(cls, run: Run) -> RawColumns:
        """Reads them off what the step was told."""
        told = step_settings(run, "transform", "custom_config").get("problem")
        try:
            problem = Problem.model_validate_json(told if isinstance(told, str) else "null")
        except ValueError:
            # Code of one's own has no table of features; that of another version may differ.
            return cls({}, masked_columns(run))
        names = {row.key: row.feature.name for row in problem.transformed_features}
        names[problem.transformed_label] = problem.label.name
        if problem.training.weight_column is not None:
            names[problem.transformed_weight] = problem.training.weight_column
        return cls(names, masked_columns(run))

    def title(self, key: str) -> str:
        """What a column is called in the data, then what it became."""
        raw = self.names.get(key)
        return fragments.plain(key) if raw is None else f"{fragments.plain(raw)} ({key})"

    def place(self, key: str) -> tuple[int, str]:
        """Sorts keys as the features are, unknown ones behind by name."""
        known = list(self.names)
        return (known.index(key) if key in self.names else len(known), key)

    def is_masked(self, key: str) -> bool:
        """Whether the values of what a column became are not shown.

        Where it is not known what a column was made from, every key that a masked column could
        have become is masked.
        """
        if key in self.names:
            return self.names[key] in self.masked or key in self.masked
        stems = {
            stem
            for column in self.masked
            for stem in (column, safe_name(column), f"label_{safe_name(column)}")
        }
        return any(key == stem or key.startswith(f"{stem}_") for stem in stems)
