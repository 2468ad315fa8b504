"""What a client gets back."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Predictions", "SignatureInfo", "TensorDescription", "VersionStatus"]


@dataclass(frozen=True)
class TensorDescription:
    """One input or output of a signature."""

    dtype: str
    """`float`, `int64`, `string`, …"""
    shape: tuple[int, ...] | None
    """-1 for sizes that may vary; None when even the rank may."""


@dataclass(frozen=True)
class SignatureInfo:
    """One entry point of a model."""

    method: str
    """`predict`, `classify` or `regress`."""
    inputs: Mapping[str, TensorDescription]
    outputs: Mapping[str, TensorDescription]

    @property
    def examples_input(self) -> str | None:
        """The input that takes serialised tf.Examples, if the signature looks like it."""
        if len(self.inputs) != 1:
            return None
        ((name, description),) = self.inputs.items()
        is_vector = description.shape is None or len(description.shape) == 1
        return name if description.dtype == "string" and is_vector else None


@dataclass(frozen=True)
class VersionStatus:
    """One version of a model, as the server sees it."""

    version: int
    state: str
    """`START`, `LOADING`, `AVAILABLE`, `UNLOADING` or `END`."""
    error: str = ""
    """Why it could not be loaded."""


@dataclass(frozen=True)
class Predictions(Sequence[dict[str, Any]]):
    """The answer to a predict: a sequence with one dict per row."""

    columns: Mapping[str, Any]
    """Each output as nested lists; the first level has one item per row."""
    model: str
    version: int | None
    """The version that answered; the REST API does not tell."""

    def __len__(self) -> int:
        return min((len(values) for values in self.columns.values()), default=0)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        return {name: values[index] for name, values in self.columns.items()}

    def __iter__(self) -> Iterator[dict[str, Any]]:
        names = list(self.columns)
        for values in zip(*self.columns.values(), strict=False):
            yield dict(zip(names, values, strict=True))

    def to_pandas(self) -> Any:
        """Turns the answer into a DataFrame; pandas must be installed."""
        import pandas as pd

        return pd.DataFrame(dict(self.columns))
