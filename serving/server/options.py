"""The flags of a model server, named as `tensorflow_model_server` names them."""

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from serving.errors import UserError

__all__ = ["Flag", "ServerOptions", "flags"]


@dataclass(frozen=True)
class Flag:
    """What the command line shows of one option."""

    name: str
    type: type
    default: Any
    help: str
    ours: bool
    """True when `tensorflow_model_server` has no such flag."""
    ignored: bool
    """True when only `tensorflow_model_server` obeys it."""


def _flag(default: Any, text: str, *, ours: bool = False, ignored: bool = False) -> Any:
    return field(default=default, metadata={"help": text, "ours": ours, "ignored": ignored})


@dataclass(frozen=True)
class ServerOptions:
    """Everything that one server can be told at its start.

    Flags that exist in `tensorflow_model_server` keep its name, meaning and default. Exceptions:
    `rest_api_port` is 8501 instead of off, as in its container image.

    Raises:
        UserError: when two options contradict each other.
    """

    port: int = _flag(8500, "Port of the gRPC API; 0 takes any free one.")
    rest_api_port: int = _flag(
        8501, "Port of the REST API; 0 switches it off, -1 takes any free one."
    )
    host: str = _flag("127.0.0.1", "Address to listen on; 0.0.0.0 for every network.", ours=True)
    grpc_socket_path: str = _flag("", "Also listen for gRPC on this UNIX socket.")
    model_name: str = _flag("default", "Name of the model (ignored with --model_config_file).")
    model_base_path: str = _flag("", "Folder whose numbered folders are the versions.")
    model_config_file: str = _flag("", "ModelServerConfig in text form: many models, policies.")
    model_config_file_poll_wait_seconds: float = _flag(
        0, "Read the config file again every so many seconds; 0 reads it once."
    )
    file_system_poll_wait_seconds: float = _flag(
        1, "Look for new versions every so many seconds; 0 looks once."
    )
    allow_version_labels_for_unavailable_models: bool = _flag(
        False, "Let a new label name a version that is not loaded yet."
    )
    max_num_load_retries: int = _flag(5, "Attempts after the first failed load of a version.")
    load_retry_interval_micros: int = _flag(60_000_000, "Wait between these attempts.")
    saved_model_tags: str = _flag("serve", "Comma-separated tags of the graph to load.")
    enable_model_warmup: bool = _flag(True, "Replay assets.extra/tf_serving_warmup_requests.")
    num_request_iterations_for_warmup: int = _flag(0, "Times to replay each; 0 means once.")
    enable_batching: bool = _flag(False, "Merge concurrent requests into one run.")
    batching_parameters_file: str = _flag("", "BatchingParameters in text form.")
    rest_api_timeout_in_ms: int = _flag(30_000, "Longest time for one REST request.")
    enable_cors_support: bool = _flag(False, "Add CORS headers to REST answers.")
    monitoring_config_file: str = _flag("", "MonitoringConfig in text form: Prometheus page.")
    ssl_config_file: str = _flag("", "SSLConfig in text form: TLS for gRPC.")
    grpc_channel_arguments: str = _flag("", "key=value,… handed to the gRPC server.")
    tensorflow_session_parallelism: int = _flag(0, "Threads for one run; 0 chooses.")
    tensorflow_intra_op_parallelism: int = _flag(0, "Threads inside one operation; 0 chooses.")
    tensorflow_inter_op_parallelism: int = _flag(
        0, "Operations of one run side by side; 0 runs them in the request's own thread."
    )
    max_request_bytes: int = _flag(
        32 << 20, "Largest request, also after gzip; larger ones are refused.", ours=True
    )
    max_concurrent_requests: int = _flag(
        4096, "Requests under way at once; more are answered UNAVAILABLE.", ours=True
    )
    drain_timeout_seconds: float = _flag(
        30, "After SIGTERM, wait this long for requests under way.", ours=True
    )
    capture: str = _flag(
        "", "Write a sample of requests and predictions to this folder.", ours=True
    )
    capture_sample: float = _flag(1.0, "Share of the requests that is captured.", ours=True)
    capture_max_mb: int = _flag(320, "Most that captured files take together.", ours=True)
    enable_grpc_healthcheck_service: bool = _flag(
        True, "grpc.health is always on here.", ignored=True
    )
    rest_api_num_threads: int = _flag(0, "One event loop serves REST here.", ignored=True)
    flush_filesystem_caches: bool = _flag(True, "Not needed here.", ignored=True)
    per_process_gpu_memory_fraction: float = _flag(0, "TensorFlow decides here.", ignored=True)
    remove_unused_fields_from_bundle_metagraph: bool = _flag(True, "Not needed here.", ignored=True)

    def __post_init__(self) -> None:
        if self.port and self.port == self.rest_api_port:
            raise UserError(
                f"--port and --rest_api_port are both {self.port}",
                expected="two different ports",
                fix="change one of them, or --rest_api_port=0 for gRPC only",
            )
        if self.batching_parameters_file and not self.enable_batching:
            raise UserError(
                "--batching_parameters_file is set without --enable_batching",
                expected="both, or neither",
                fix="add --enable_batching",
            )
        if self.tensorflow_session_parallelism > 0 and (
            self.tensorflow_intra_op_parallelism > 0 or self.tensorflow_inter_op_parallelism > 0
        ):
            raise UserError(
                "--tensorflow_session_parallelism is set beside the intra or inter op flag",
                expected="either the one, or the other two",
                fix="leave out --tensorflow_session_parallelism",
            )
        if not 0 < self.capture_sample <= 1:
            raise UserError(
                f"--capture_sample is {self.capture_sample}",
                expected="a share above 0, up to 1",
                fix="leave out --capture to capture nothing",
            )
        for name in ("max_request_bytes", "max_concurrent_requests", "capture_max_mb"):
            if getattr(self, name) < 1:
                raise UserError(
                    f"--{name} is {getattr(self, name)}",
                    expected="a number above 0",
                    fix=f"leave out --{name} for {_default(name)}",
                )

    @property
    def base_path(self) -> Path:
        """The model folder as an absolute path."""
        return Path(self.model_base_path).expanduser().absolute()


def _default(name: str) -> Any:
    return next(item.default for item in fields(ServerOptions) if item.name == name)


def flags() -> list[Flag]:
    """Lists every option with its help, in the order in which help shows them."""
    return [
        Flag(
            item.name,
            type(item.default) if not _is_seconds(item.name) else float,
            item.default,
            item.metadata["help"],
            item.metadata["ours"],
            item.metadata["ignored"],
        )
        for item in fields(ServerOptions)
    ]


def _is_seconds(name: str) -> bool:
    return name.endswith("_seconds") or name in (
        "per_process_gpu_memory_fraction",
        "capture_sample",
    )
