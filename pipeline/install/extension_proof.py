"""Real work for the two repaired extension modules: loading them alone proves little.

Run in the environment, in a process of its own: `python -m pipeline.install.extension_proof`.
"""

import os
import sys
import tempfile
from pathlib import Path

__all__ = ["mlmd_keeps_an_artifact", "tfdv_infers_a_schema"]


def mlmd_keeps_an_artifact(folder: Path) -> None:
    """Writes an artifact into a new SQLite store and reads it back.

    Raises:
        RuntimeError: what came back is not what was written.
    """
    from ml_metadata.metadata_store import metadata_store
    from ml_metadata.proto import metadata_store_pb2

    connection = metadata_store_pb2.ConnectionConfig()
    connection.sqlite.filename_uri = str(folder / "metadata.sqlite")
    connection.sqlite.connection_mode = 3  # READWRITE_OPENCREATE
    store = metadata_store.MetadataStore(connection)
    type_id = store.put_artifact_type(metadata_store_pb2.ArtifactType(name="Proof"))
    store.put_artifacts([metadata_store_pb2.Artifact(type_id=type_id, uri="proof/1")])
    uris = [artifact.uri for artifact in store.get_artifacts_by_type("Proof")]
    if uris != ["proof/1"]:
        raise RuntimeError(f"the metadata store gave back {uris}, not ['proof/1']")


def tfdv_infers_a_schema() -> None:
    """Generates statistics of three rows, infers a schema and finds an anomaly by it.

    Raises:
        RuntimeError: the statistics, the schema or the anomaly is not what the rows imply.
    """
    import pandas as pd
    import tensorflow_data_validation as tfdv

    rows = pd.DataFrame({"fare": [5.0, 7.5, 3.25], "payment": ["Cash", "Card", "Cash"]})
    statistics = tfdv.generate_statistics_from_dataframe(rows)
    schema = tfdv.infer_schema(statistics)
    names = sorted(feature.name for feature in schema.feature)
    if statistics.datasets[0].num_examples != 3 or names != ["fare", "payment"]:
        raise RuntimeError(f"3 rows of fare and payment became a schema of {names}")
    other = tfdv.generate_statistics_from_dataframe(rows.drop(columns="fare"))
    anomalies = sorted(tfdv.validate_statistics(other, schema).anomaly_info)
    if anomalies != ["fare"]:
        raise RuntimeError(f"a missing column 'fare' was reported as {anomalies}")


def main() -> int:
    """Runs both proofs."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    with tempfile.TemporaryDirectory(prefix="kubetfx-proof-") as folder:
        mlmd_keeps_an_artifact(Path(folder))
    tfdv_infers_a_schema()
    return 0


if __name__ == "__main__":
    sys.exit(main())
