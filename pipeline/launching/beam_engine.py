"""The engine that runs the Beam steps: in this process, or the one that the arguments name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.config.sections import Beam

if TYPE_CHECKING:
    import apache_beam as beam

__all__ = ["arguments", "in_process_pipeline", "is_in_process"]

_RUNNERS = {
    "direct": "DirectRunner",
    "flink": "FlinkRunner",
    "dataflow": "DataflowRunner",
    "spark": "SparkRunner",
}


def arguments(settings: Beam) -> list[str]:
    """Turns the configuration's `beam:` section into Beam pipeline arguments."""
    return [f"--runner={_RUNNERS[settings.runner]}", *settings.args]


def is_in_process(beam_arguments: list[str]) -> bool:
    """Tells whether the arguments choose the in-process engine; without any, they do."""
    runners = [text for text in beam_arguments if str(text).startswith("--runner=")]
    return not runners or runners[-1] == f"--runner={_RUNNERS['direct']}"


def in_process_pipeline(beam_arguments: list[str]) -> beam.Pipeline:
    """Makes a pipeline on the Fn API runner.

    Beam's DirectRunner would first look for the Prism binary, which it downloads; a pipeline
    should run the same on every machine, so the runner is pinned.
    """
    import apache_beam as beam
    from apache_beam.options.pipeline_options import PipelineOptions
    from apache_beam.runners.portability.fn_api_runner import FnApiRunner

    from pipeline.launching import beam_patches

    beam_patches.install()
    options = PipelineOptions(
        [text for text in beam_arguments if not str(text).startswith("--runner=")]
    )
    return beam.Pipeline(runner=FnApiRunner(), options=options)
