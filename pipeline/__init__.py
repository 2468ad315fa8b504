"""From one YAML to a TFX graph that runs locally and compiles for Kubeflow Pipelines."""

__version__ = "0.1.0"
