"""The `gates:` section: what in the data stops a run, and how much it may drift."""

from __future__ import annotations

from components.gates.gate_policy import DataGate, DriftGate, GatePolicy, SkewLimits
from pipeline.config.section import Section

__all__ = ["Gates"]


class Gates(Section):
    """What stops a run before a model is trained on the wrong data."""

    data: DataGate = DataGate()
    """Severity by kind, column and split; tolerances; known faults that pass until a date."""

    drift: DriftGate = DriftGate()
    """How much a column may differ from the span before."""

    skew: SkewLimits = SkewLimits()
    """How much captured requests may differ from what the version was trained on."""

    def skew_policy(self, used_columns: tuple[str, ...] | None) -> GatePolicy:
        """Words the section for the gate behind a server.

        Args:
            used_columns: what the model takes; None where that is not ours to know.
        """
        return GatePolicy(data=self.data, drift=self.skew, used_columns=used_columns)

    def policy(self, used_columns: tuple[str, ...] | None, schema_file: str | None) -> GatePolicy:
        """Words the section for the gate.

        Args:
            used_columns: features and label; None takes all columns for used.
            schema_file: the curated schema; None if it is inferred.
        """
        return GatePolicy(
            data=self.data,
            drift=self.drift,
            used_columns=used_columns,
            schema_is_inferred=schema_file is None,
            schema_file=schema_file or "",
        )
