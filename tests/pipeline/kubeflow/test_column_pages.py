"""The dashboard's pages about columns: missing means a row without a value, masked stays masked."""

from pathlib import Path

from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import anomalies_pb2, statistics_pb2

from pipeline.launching.launch import NodeOutcome, NodeState
from pipeline.launching.metadata import OutputArtifact
from pipeline.report.step_pages import step_page
from tests.kubeflow import run_checks

# Of four rows two have a name: TFDV counts an empty cell as present, with no values.
STATISTICS = """
datasets {
  name: "train" num_examples: 4
  features {
    path { step: "name" } type: STRING
    string_stats {
      common_stats { num_non_missing: 4 min_num_values: 0 max_num_values: 1 tot_num_values: 2
        num_values_histogram { buckets { low_value: 0 high_value: 0 sample_count: 2 }
                               buckets { low_value: 1 high_value: 1 sample_count: 2 } } }
      unique: 2
      rank_histogram { buckets { label: "Ada Lovelace" sample_count: 1 }
                       buckets { label: "Grace Hopper" sample_count: 1 } }
      top_values { value: "Ada Lovelace" frequency: 1 }
      top_values { value: "Grace Hopper" frequency: 1 }
    }
  }
}
"""
SCHEMA = """
feature { name: "name" type: BYTES domain: "name" presence { min_fraction: 1 min_count: 1 }
          value_count { min: 0 max: 1 } }
feature { name: "age" type: INT presence { min_fraction: 1 } value_count { min: 1 max: 1 } }
feature { name: "fare" type: FLOAT presence { min_fraction: 0.75 } value_count { max: 1 } }
string_domain { name: "name" value: "Ada Lovelace" value: "Grace Hopper" }
"""
ANOMALIES = """
anomaly_info { key: "name" value {
  short_description: "Unexpected string values"
  description: "Examples contain values missing from the schema: Alan Turing (~25%)." } }
"""


def outcome(node: str, folder: Path) -> NodeOutcome:
    artifact = OutputArtifact(1, str(folder), "Anything", {"split_names": '["train"]'})
    return NodeOutcome(node, NodeState.DONE, 1, {node: [artifact]})


def pages(folder: Path, masked: tuple[str, ...]) -> dict[str, str]:
    split = folder / "Split-train"
    split.mkdir(exist_ok=True)
    statistics = text_format.Parse(STATISTICS, statistics_pb2.DatasetFeatureStatisticsList())
    (split / "FeatureStats.pb").write_bytes(statistics.SerializeToString())
    anomalies = text_format.Parse(ANOMALIES, anomalies_pb2.Anomalies())
    (split / "SchemaDiff.pb").write_bytes(anomalies.SerializeToString())
    (folder / "schema.pbtxt").write_text(SCHEMA)
    nodes = ("statistics", "schema", "anomalies")
    return {node: step_page(outcome(node, folder), "people", masked) for node in nodes}


def test_missing_means_a_row_without_a_value(tmp_path: Path) -> None:
    shown = pages(tmp_path, ())
    assert "50.0%" in shown["statistics"]
    assert "Ada Lovelace" in shown["statistics"]
    rows = shown["schema"].split("<tr")
    name, age, fare = (
        next(row for row in rows if f">{column}<" in row) for column in ("name", "age", "fare")
    )
    assert "may lack" in name
    assert "Ada Lovelace" in name
    assert "always" in age
    assert "at least 75%" in fare


def test_values_of_masked_columns_are_on_no_page(tmp_path: Path) -> None:
    shown = pages(tmp_path, ("name",))
    assert "50.0%" in shown["statistics"]
    assert "Unexpected string values" in shown["anomalies"]
    for page in shown.values():
        assert not any(name in page for name in ("Ada", "Grace", "Turing"))


def test_tasks_that_show_columns_are_told_which_to_mask() -> None:
    text = run_checks.compiled("penguins", "gates.data.masked_columns=[sex]")
    assert text.count("- --mask=sex") == 1
    assert "--mask" not in run_checks.compiled("penguins")
