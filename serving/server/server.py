"""One running model server: loads, opens its ports, watches, drains."""

import asyncio
import logging
import socket
from contextlib import nullcontext, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import grpc
import uvicorn
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc
from tensorflow_serving.config import model_server_config_pb2

from serving.errors import UserError
from serving.server import config_files
from serving.server.batching import Batching
from serving.server.capture import Capture, CaptureTerms
from serving.server.core import Core
from serving.server.execution import Direct, Execution, Workers
from serving.server.grpc_services import ModelServicer, PredictionServicer
from serving.server.http_protocol import BoundedHttpProtocol
from serving.server.metrics import Metrics
from serving.server.options import ServerOptions
from serving.server.ports import check_free, port_taken, reserve
from serving.server.registry import LoadPolicy, Registry
from serving.server.rest import RestApp
from serving.server.saved_model import LoadedModel, Parallelism, load
from serving.server.sources import sources_of
from serving.server.status import Code, ServingStatus
from serving.server.warmup import replay_warmup

__all__ = ["ModelServer"]

KEEP_ALIVE_S = 75
_SERVICES = (
    "",
    "tensorflow.serving.PredictionService",
    "tensorflow.serving.ModelService",
)
log = logging.getLogger("kubetfx.serve")


class ModelServer:
    """A server within the running event loop.

    Example:
        async with ModelServer(ServerOptions(model_base_path="/models/taxi")) as server:
            await server.drained()

    Args:
        options: what `kubetfx serve` would be told.
    """

    def __init__(self, options: ServerOptions) -> None:
        self.options = options
        self.grpc_port = 0
        """The port of the gRPC API, once started."""
        self.rest_port = 0
        """The port of the REST API, once started; 0 when there is none."""
        self._monitoring = config_files.read_monitoring(options.monitoring_config_file)
        self._tls = config_files.read_tls(options.ssl_config_file)
        self._config = _model_config(options)
        self._workers = Workers(options.tensorflow_session_parallelism)
        self._health = health.aio.HealthServicer()
        self._registry = Registry(self._load_policy(), self._state_changed)
        self._core = Core(
            self._registry,
            self._execution(),
            self._workers,
            Metrics(),
            options.max_concurrent_requests,
            options.max_request_bytes,
            _capture(options),
        )
        self._grpc: Any = None
        self._rest: uvicorn.Server | None = None
        self._rest_socket: socket.socket | None = None
        self._rest_ended = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._configuring = asyncio.Lock()
        self._draining = False
        self._drained = asyncio.Event()

    def _execution(self) -> Execution:
        if not self.options.enable_batching:
            return Direct(self._workers)
        parameters = config_files.read_batching(self.options.batching_parameters_file)
        return Batching(parameters, self._workers)

    def _load_policy(self) -> LoadPolicy:
        options = self.options
        parallelism = Parallelism(
            options.tensorflow_intra_op_parallelism or options.tensorflow_session_parallelism,
            options.tensorflow_inter_op_parallelism,
        )

        def bring_up(folder: Path) -> LoadedModel:
            model = load(folder, tags=options.saved_model_tags.split(","), parallelism=parallelism)
            if options.enable_model_warmup:
                replay_warmup(
                    model,
                    folder,
                    iterations=options.num_request_iterations_for_warmup,
                    limit_bytes=options.max_request_bytes,
                )
            return model

        return LoadPolicy(
            bring_up,
            options.max_num_load_retries,
            options.load_retry_interval_micros / 1e6,
            options.allow_version_labels_for_unavailable_models,
        )

    # --- start and stop ------------------------------------------------------------------------

    async def __aenter__(self) -> "ModelServer":
        try:
            await self.start()
        except BaseException:
            await self.stop(0)
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Loads every model, then opens the ports, then watches for new versions.

        Raises:
            UserError: when a port is taken or the configuration cannot be used.
            ServingStatus: when a model cannot be loaded.
        """
        host, rest_port = self.options.host, self.options.rest_api_port
        check_free(host, self.options.port, "--port")
        if rest_port:
            self._rest_socket = reserve(host, rest_port, "--rest_api_port")
        every = self.options.file_system_poll_wait_seconds
        if every > 0:
            self._tasks.append(asyncio.create_task(self._registry.watch(every)))
        try:
            async with self._configuring:
                await self._registry.configure(sources_of(self._config))
        except ServingStatus as status:
            if status.code is not Code.INVALID_ARGUMENT:
                raise
            raise UserError(
                status.message,
                expected="a configuration that TensorFlow Serving would take",
                fix="correct --model_config_file",
            ) from status
        await self._open_grpc()
        if self._rest_socket is not None:
            await self._open_rest(self._rest_socket)
        if self.options.model_config_file and self.options.model_config_file_poll_wait_seconds > 0:
            self._tasks.append(asyncio.create_task(self._watch_config()))
        await self._tell_health()

    async def stop(self, within_s: float | None = None) -> None:
        """Answers what is under way, refuses the rest, frees everything.

        Args:
            within_s: how long requests under way may take; the option by default.
        """
        if self._draining:
            await self._drained.wait()
            return
        self._draining = True
        grace = self.options.drain_timeout_seconds if within_s is None else within_s
        for task in self._tasks:
            task.cancel()
        await self._tell_health()
        closing = []
        if self._grpc is not None:
            closing.append(asyncio.ensure_future(self._grpc.stop(grace)))
        if self._rest is None and self._rest_socket is not None:
            self._rest_socket.close()
        if self._rest is not None:
            self._rest.config.timeout_graceful_shutdown = max(1, round(grace))
            self._rest.should_exit = True
            closing.append(asyncio.ensure_future(self._rest_ended.wait()))
        if closing:
            await asyncio.wait(closing, timeout=grace + 5)
        await self._registry.close()
        self._workers.close()
        if self._core.capture is not None:
            await asyncio.to_thread(self._core.capture.close)
        self._drained.set()

    async def drained(self) -> None:
        """Waits until the server has stopped."""
        await self._drained.wait()

    # --- ports ---------------------------------------------------------------------------------

    async def _open_grpc(self) -> None:
        limit = self.options.max_request_bytes
        settings: list[tuple[str, Any]] = [
            ("grpc.max_receive_message_length", limit),
            ("grpc.max_send_message_length", -1),
            ("grpc.so_reuseport", 0),
            *_channel_arguments(self.options.grpc_channel_arguments),
        ]
        server = grpc.aio.server(
            options=settings, maximum_concurrent_rpcs=self.options.max_concurrent_requests
        )
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
            PredictionServicer(self._core), server
        )
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(
            ModelServicer(self._core, self.reconfigure), server
        )
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        address = f"{_bracketed(self.options.host)}:{self.options.port}"
        try:
            self.grpc_port = self._bind(server, address)
            if self.options.grpc_socket_path:
                self._bind(server, f"unix:{self.options.grpc_socket_path}")
        except RuntimeError as error:
            raise port_taken("--port", self.options.port, str(error)) from error
        await server.start()
        self._grpc = server
        log.info("gRPC at %s:%s", self.options.host, self.grpc_port)

    def _bind(self, server: Any, address: str) -> int:
        if self._tls is None:
            return int(server.add_insecure_port(address))
        credentials = grpc.ssl_server_credentials(
            [(self._tls.server_key, self._tls.server_cert)],
            self._tls.custom_ca,
            self._tls.client_verify,
        )
        return int(server.add_secure_port(address, credentials))

    async def _open_rest(self, listener: socket.socket) -> None:
        app = RestApp(
            self._core,
            timeout_s=self.options.rest_api_timeout_in_ms / 1000,
            monitoring=self._monitoring,
            cors=self.options.enable_cors_support,
        )
        config = uvicorn.Config(
            app,
            http=BoundedHttpProtocol,
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="critical",
            access_log=False,
            server_header=False,
            date_header=False,
            timeout_keep_alive=KEEP_ALIVE_S,
            proxy_headers=False,
            backlog=2048,
        )
        self._rest = _Uvicorn(config)
        self.rest_port = listener.getsockname()[1]
        self._rest_task = asyncio.create_task(self._serve_rest(listener))
        while not self._rest.started and not self._rest_ended.is_set():
            await asyncio.sleep(0.005)
        log.info("REST at http://%s:%s", self.options.host, self.rest_port)

    async def _serve_rest(self, listener: socket.socket) -> None:
        assert self._rest is not None
        try:
            await self._rest.serve(sockets=[listener])
        finally:
            listener.close()
            self._rest_ended.set()

    # --- configuration -------------------------------------------------------------------------

    async def reconfigure(self, config: model_server_config_pb2.ModelServerConfig) -> None:
        """Takes over a new list of models; either all of it or nothing.

        Raises:
            ServingStatus: as TensorFlow Serving's ReloadConfig.
        """
        if config.WhichOneof("config") is None:
            return  # as a file is while it is being written; TensorFlow Serving does nothing too
        sources = sources_of(config)
        async with self._configuring:
            await self._registry.configure(sources)
        self._config = config

    async def _watch_config(self) -> None:
        while True:
            await asyncio.sleep(self.options.model_config_file_poll_wait_seconds)
            try:
                config = config_files.read_model_config(self.options.model_config_file)
                if config != self._config:
                    await self.reconfigure(config)
                    log.info("took over %s", self.options.model_config_file)
            except (UserError, ServingStatus) as error:
                log.error("%s stays unused: %s", self.options.model_config_file, error)

    # --- health --------------------------------------------------------------------------------

    def _state_changed(self) -> None:
        if self._grpc is not None and not self._draining:
            task = asyncio.create_task(self._tell_health())
            self._tasks.append(task)
            task.add_done_callback(self._tasks.remove)

    async def _tell_health(self) -> None:
        serving = not self._draining and self._registry.is_ready()
        state = health_pb2.HealthCheckResponse.ServingStatus
        with suppress(asyncio.CancelledError):
            for service in _SERVICES:
                await self._health.set(service, state.SERVING if serving else state.NOT_SERVING)


class _Uvicorn(uvicorn.Server):
    """uvicorn without its signal handlers; signals belong to the process."""

    def capture_signals(self) -> Any:
        """Captures none."""
        return nullcontext()


def _model_config(options: ServerOptions) -> model_server_config_pb2.ModelServerConfig:
    if options.model_config_file:
        return config_files.read_model_config(options.model_config_file)
    if not options.model_base_path:
        raise UserError(
            "neither --model_base_path nor --model_config_file is set",
            expected="a folder of versions, or a file that lists models",
            fix="add --model_base_path=FOLDER",
        )
    config = model_server_config_pb2.ModelServerConfig()
    model = config.model_config_list.config.add()
    model.name = options.model_name
    model.base_path = str(options.base_path)
    model.model_platform = "tensorflow"
    return config


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _channel_arguments(text: str) -> list[tuple[str, Any]]:
    """Reads `key=value,key=value`; values that look like numbers are numbers."""
    pairs: list[tuple[str, Any]] = []
    for item in filter(None, text.split(",")):
        key, equals, value = item.partition("=")
        if not equals:
            raise UserError(
                f"--grpc_channel_arguments has {item!r}",
                expected="key=value pairs, separated by commas",
                fix="for instance grpc.max_connection_age_ms=2000",
            )
        pairs.append((key, int(value) if value.lstrip("-").isdigit() else value))
    return pairs


def _capture(options: ServerOptions) -> Capture | None:
    """Starts capturing, if a folder is named; a file is a twentieth of what all may take."""
    if not options.capture:
        return None
    total = options.capture_max_mb << 20
    folder = Path(options.capture).expanduser().absolute()
    return Capture(CaptureTerms(folder, options.capture_sample, max(total // 20, 1 << 16), 20))
