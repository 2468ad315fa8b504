"""Runs a compiled spec task by task as Kubeflow's driver and launcher would, without a cluster.

Each rule names what it stands for, in kubeflow/pipelines at tag 2.17.0 unless it says otherwise:

    API        backend/src/apiserver/template/v2_template.go
    ARGO       backend/src/v2/compiler/argocompiler/{argo,dag,container}.go
    RETRIES    argoproj/argo-workflows 3.6, workflow/controller/operator.go, processNodeRetries
    DRIVER     backend/src/v2/driver/{driver,resolve,container}.go
    LAUNCHER   backend/src/v2/component/launcher_v2.go
    OBJECTS    backend/src/v2/objectstore/object_store.go

What the tasks run is real: the spec's own command and arguments, in a fresh process with a fresh
working folder and only the environment that the spec gives it.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2 as specs

ROOT = Path(__file__).resolve().parents[2]
_ARGO_NAME = re.compile(r"[a-zA-Z0-9][-a-zA-Z0-9]*")
_ARGO_LIMIT_BYTES = 1_500_000
_OBJECT_SCHEMES = ("gs://", "s3://", "minio://")
_PLACEHOLDER = re.compile(r"\{\{\$\.[^{}]*\}\}")


class RefusedError(Exception):
    """The API server or the compiler to Argo would not take the spec."""


@dataclass
class Attempt:
    """One pod: its exit code, its log, and how long it ran. Units: `seconds` in s."""

    exit_code: int
    log: str
    seconds: float

    @property
    def last_line(self) -> str:
        return self.log.strip().splitlines()[-1] if self.log.strip() else ""


@dataclass
class TaskRun:
    """What became of one task.

    Attributes:
        state: `succeeded`, `failed` or `not run`.
        artifacts: those that Kubeflow has recorded, by output: uri, metadata, type, and the
            uploaded text.
    """

    name: str
    state: str = "not run"
    attempts: list[Attempt] = field(default_factory=list)
    artifacts: dict[str, dict[str, Any]] = field(default_factory=dict)
    started: float = 0.0
    ended: float = 0.0


@dataclass
class Cluster:
    """What a spec finds around itself.

    Attributes:
        folder: the harness's own files.
        secrets: keys and values by secret name.
        environment: set in every pod besides what the spec sets, as a pod default would.
        pipeline_root: where Kubeflow keeps what it shows.
        backoff_scale: the waits before retries are multiplied by it.
        on_start: told of each attempt's process and log, to kill it, say.
    """

    folder: Path
    secrets: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    pipeline_root: str = "minio://mlpipeline/v2/artifacts"
    backoff_scale: float = 0.01
    on_start: Callable[[str, int, subprocess.Popen[bytes], Path], None] | None = None
    timeout_s: float = 240


class SpecRun:
    """One run of a compiled spec."""

    def __init__(
        self, text: str, cluster: Cluster, arguments: Mapping[str, Any] | None = None
    ) -> None:
        self.cluster = cluster
        self.run_id = str(uuid.uuid4())
        self.created = "2026-03-02T02:00:00Z"
        self.spec, self.platform = _accepted(text)
        self.parameters = self._arguments(arguments or {})
        self.tasks = {name: TaskRun(name) for name in self.spec.root.dag.tasks}
        self.root = f"{cluster.pipeline_root}/{self.spec.pipeline_info.name}/{self.run_id}"
        self._lock = threading.Lock()

    @property
    def succeeded(self) -> bool:
        return all(task.state == "succeeded" for task in self.tasks.values())

    def artifact(self, name: str) -> dict[str, Any]:
        """An output artifact that Kubeflow has recorded, by its name in any task."""
        [found] = [t.artifacts[name] for t in self.tasks.values() if name in t.artifacts]
        return found

    def failures(self) -> str:
        """The logs of the tasks that failed."""
        return "\n".join(
            f"--- {task.name}\n{task.attempts[-1].log}"
            for task in self.tasks.values()
            if task.state == "failed"
        )

    def execute(self) -> SpecRun:
        """Runs all tasks; independent ones at once, as Argo does."""
        dag = self.spec.root.dag.tasks
        pending: dict[str, concurrent.futures.Future[None]] = {}
        with concurrent.futures.ThreadPoolExecutor(max_workers=4) as pool:
            while True:
                for name, task in dag.items():
                    before = [self.tasks[each].state for each in task.dependent_tasks]
                    if name not in pending and all(state == "succeeded" for state in before):
                        pending[name] = pool.submit(self._run_task, name)
                running = [future for future in pending.values() if not future.done()]
                if not running:
                    ready = [
                        name
                        for name, task in dag.items()
                        if name not in pending
                        and all(
                            self.tasks[each].state == "succeeded" for each in task.dependent_tasks
                        )
                    ]
                    if not ready:
                        break
                    continue
                concurrent.futures.wait(running, return_when=concurrent.futures.FIRST_COMPLETED)
        for future in pending.values():
            future.result()
        return self

    # ------------------------------------------------------------------------------ driver

    def _arguments(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Inputs of the run: those given, else the defaults; nothing unknown, nothing missing.

        Source: API (validateArguments); DRIVER RootDAG.
        """
        known = self.spec.root.input_definitions.parameters
        for name in given:
            if name not in known:
                raise RefusedError(f"unknown input {name}")
        values = {}
        for name, definition in known.items():
            if name in given:
                value = given[name]
            elif definition.HasField("default_value"):
                value = json_format.MessageToDict(definition.default_value)
            else:
                raise RefusedError(f"input {name} is required")
            kind = specs.ParameterType.ParameterTypeEnum.Name(definition.parameter_type)
            expected: dict[str, type | tuple[type, ...]] = {
                "STRING": str,
                "NUMBER_INTEGER": (int, float),
                "BOOLEAN": bool,
            }
            if not isinstance(value, expected[kind]):
                raise RefusedError(f"input {name} is {value!r}, not {kind}")
            values[name] = value
        return values

    def _task_parameters(self, name: str) -> dict[str, Any]:
        """Source: DRIVER resolveInputs; constants are replaced only where they are the whole."""
        constants = {
            "{{$.pipeline_job_uuid}}": self.run_id,
            "{{$.pipeline_job_name}}": self.spec.pipeline_info.name,
            "{{$.pipeline_job_resource_name}}": f"{self.spec.pipeline_info.name}-x1",
            "{{$.pipeline_task_name}}": name,
            "{{$.pipeline_job_create_time_utc}}": self.created,
            "{{$.pipeline_job_schedule_time_utc}}": self.created,
        }
        values: dict[str, Any] = {}
        for key, source in self.spec.root.dag.tasks[name].inputs.parameters.items():
            kind = source.WhichOneof("kind")
            if kind == "component_input_parameter":
                values[key] = self.parameters[source.component_input_parameter]
            elif kind == "runtime_value":
                constant = json_format.MessageToDict(source.runtime_value.constant)
                values[key] = (
                    constants.get(constant, constant) if isinstance(constant, str) else constant
                )
            else:
                raise RefusedError(f"{name}: input {key} comes from {kind}")
        return values

    def _executor_input(self, name: str, component: Any, output_file: Path) -> dict[str, Any]:
        """Source: DRIVER provisionOutputs: root/task/uuid/key for each output artifact."""
        folder = f"{self.root}/{name}/{uuid.uuid4()}"
        outputs = {
            key: {
                "artifacts": [
                    {
                        "name": key,
                        "type": {"schemaTitle": definition.artifact_type.schema_title},
                        "uri": f"{folder}/{key}",
                        "metadata": {},
                    }
                ]
            }
            for key, definition in component.output_definitions.artifacts.items()
        }
        document = {
            "inputs": {"parameterValues": self._task_parameters(name)},
            "outputs": {"artifacts": outputs, "outputFile": str(output_file)},
        }
        # What the launcher has in hand is the message: what does not fit in is an error.
        message = json_format.ParseDict(document, specs.ExecutorInput())
        parsed: dict[str, Any] = json_format.MessageToDict(message)
        return parsed

    # ---------------------------------------------------------------------------- launcher

    def _run_task(self, name: str) -> None:
        task = self.tasks[name]
        definition = self.spec.root.dag.tasks[name]
        component = self.spec.components[definition.component_ref.name]
        label = component.executor_label
        container = self._container(label)
        pod_root = self.cluster.folder / self.run_id / name
        output_file = pod_root / "tmp" / "kfp_outputs" / "output_metadata.json"
        executor_input = self._executor_input(name, component, output_file)
        task.started = time.monotonic()
        policy = definition.retry_policy
        for number in range(policy.max_retry_count + 1):
            # RETRIES: the window opens with the first attempt; no attempt outlives it.
            left_s = task.started + policy.backoff_max_duration.seconds - time.monotonic()
            if number:
                wait_s = policy.backoff_duration.seconds * policy.backoff_factor ** (number - 1)
                if wait_s > left_s:
                    break
                time.sleep(self.cluster.backoff_scale * wait_s)
            shutil.rmtree(pod_root, ignore_errors=True)
            attempt = self._pod(name, number, container, label, executor_input, pod_root)
            task.attempts.append(attempt)
            if attempt.exit_code == 0:
                # LAUNCHER Execute: outputs are taken only when the command succeeded.
                task.artifacts = self._collect(executor_input, output_file, pod_root)
                break
        task.state = "succeeded" if task.attempts[-1].exit_code == 0 else "failed"
        task.ended = time.monotonic()

    def _container(self, label: str) -> dict[str, Any]:
        deployment = json_format.MessageToDict(self.spec.deployment_spec)
        found: dict[str, Any] = deployment["executors"][label]["container"]
        return found

    def _pod(
        self,
        name: str,
        number: int,
        container: Mapping[str, Any],
        label: str,
        executor_input: Mapping[str, Any],
        pod_root: Path,
    ) -> Attempt:
        work = pod_root / "work"
        work.mkdir(parents=True)
        for entry in executor_input["outputs"].get("artifacts", {}).values():
            # LAUNCHER prepareOutputFolders
            _local(entry["artifacts"][0]["uri"], pod_root).parent.mkdir(parents=True, exist_ok=True)
        command = [
            _substituted(word, executor_input, pod_root)
            for word in (*container["command"], *container.get("args", ()))
        ]
        log = pod_root / "log"
        start = time.monotonic()
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                cwd=work,
                env=self._environment(container, label, pod_root),
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            if self.cluster.on_start:
                self.cluster.on_start(name, number, process, log)
            try:
                code = process.wait(self.cluster.timeout_s)
            except subprocess.TimeoutExpired:
                code = -9
            finally:
                # What is left of the pod goes with its first process.
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        return Attempt(code, log.read_text(errors="replace"), time.monotonic() - start)

    def _environment(
        self, container: Mapping[str, Any], label: str, pod_root: Path
    ) -> dict[str, str]:
        """The pod's environment: the image's, the spec's, and its secrets'.

        Source: DRIVER initPodSpecPatch, extendPodSpecPatch (kubernetes platform).
        """
        home = pod_root / "home"
        home.mkdir(exist_ok=True)
        values = {
            "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
            "PYTHONPATH": str(ROOT),
            "HOME": str(home),
            "LANG": "C.UTF-8",
            "KUBETFX_POD_ROOT": str(pod_root),
            "CUDA_VISIBLE_DEVICES": "-1",
            **self.cluster.environment,
        }
        for entry in container.get("env", ()):
            values[entry["name"]] = entry["value"]
        platform = self.platform.get(label, {})
        for secret in platform.get("secretAsEnv", ()):
            have = self.cluster.secrets.get(secret["secretName"])
            for pair in secret["keyToEnv"]:
                if have is None or pair["secretKey"] not in have:
                    raise RefusedError(f"no secret {secret['secretName']}/{pair['secretKey']}")
                values[pair["envVar"]] = have[pair["secretKey"]]
        return values

    def _collect(
        self, executor_input: Mapping[str, Any], output_file: Path, pod_root: Path
    ) -> dict[str, dict[str, Any]]:
        """Merges the ExecutorOutput and uploads what is there.

        Source: LAUNCHER getExecutorOutputFile (protojson without DiscardUnknown),
        mergeOutputs, uploadOutputArtifacts; OBJECTS KeyFromURI.
        """
        merged = specs.ExecutorOutput()
        if output_file.exists():
            document = json.loads(output_file.read_text())
            _without_null(document, "")
            json_format.ParseDict(document, merged)
        recorded: dict[str, dict[str, Any]] = {}
        for key, entry in executor_input["outputs"].get("artifacts", {}).items():
            artifact = dict(entry["artifacts"][0])
            path = _local(artifact["uri"], pod_root)
            if key in merged.artifacts and merged.artifacts[key].artifacts:
                given = merged.artifacts[key].artifacts[0]
                artifact["uri"] = given.uri or artifact["uri"]
                artifact["metadata"] = json_format.MessageToDict(given.metadata)
            if artifact["uri"].startswith(_OBJECT_SCHEMES):
                if not artifact["uri"].startswith(self.cluster.pipeline_root):
                    raise AssertionError(f"{artifact['uri']} lies outside the pipeline root")
                artifact["text"] = path.read_text() if path.is_file() else None
            recorded[key] = artifact
        return recorded


def _accepted(text: str) -> tuple[Any, dict[str, Any]]:
    """Reads a spec as the API server does and refuses what Argo's compiler refuses."""
    documents = list(yaml.safe_load_all(text))
    # API: one PipelineSpec and at most one PlatformSpec, both strict.
    pipeline = json_format.ParseDict(documents[0], specs.PipelineSpec())
    if len(documents) > 1:
        json_format.ParseDict(documents[1], specs.PlatformSpec())
    if pipeline.schema_version != "2.1.0":
        raise RefusedError(f"schema version {pipeline.schema_version}")
    executors = json_format.MessageToDict(pipeline.deployment_spec)["executors"]
    for label, executor in executors.items():
        # ARGO: "non-container and non-importer executor not implemented".
        if set(executor) - {"container"}:
            raise RefusedError(f"{label} has {sorted(executor)}")
        # ARGO parses lifecycle hooks and never runs them.
        if "lifecycle" in executor["container"]:
            raise RefusedError(f"{label} has a lifecycle hook, which never runs")
        for word in (*executor["container"]["command"], *executor["container"].get("args", ())):
            for found in _PLACEHOLDER.findall(word):
                # DRIVER replaces these in parameters only.
                if "pipeline_" in found:
                    raise RefusedError(f"{label}: {found} in its arguments is never replaced")
    for name, task in pipeline.root.dag.tasks.items():
        for part in (name, task.component_ref.name.removeprefix("comp-")):
            if not _ARGO_NAME.fullmatch(part):
                raise RefusedError(f"Argo refuses the name {part!r}")
        if task.HasField("parameter_iterator") or task.HasField("artifact_iterator"):
            raise RefusedError(f"{name}: loops are not for this harness")
        if task.trigger_policy.condition:
            raise RefusedError(f"{name}: conditions are not for this harness")
    # ARGO writes arguments and specs into one object, kept in etcd.
    if len(text) * 3 > _ARGO_LIMIT_BYTES:
        raise RefusedError(f"{len(text)} bytes are too much for etcd")
    platform = documents[1]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    return pipeline, platform if len(documents) > 1 else {}


def _substituted(word: str, executor_input: Mapping[str, Any], pod_root: Path) -> str:
    """Source: LAUNCHER getPlaceholders; everything else stays as it is."""
    word = word.replace("{{$}}", json.dumps(executor_input))
    for key, value in executor_input["inputs"].get("parameterValues", {}).items():
        text = value if isinstance(value, str) else json.dumps(value)
        word = word.replace(f"{{{{$.inputs.parameters['{key}']}}}}", text)
    for key, entry in executor_input["outputs"].get("artifacts", {}).items():
        uri = entry["artifacts"][0]["uri"]
        word = word.replace(f"{{{{$.outputs.artifacts['{key}'].uri}}}}", uri)
        word = word.replace(
            f"{{{{$.outputs.artifacts['{key}'].path}}}}", str(_local(uri, pod_root))
        )
    return word


def _local(uri: str, pod_root: Path) -> Path:
    """Source: LAUNCHER LocalPathForURI; the pod's `/` is a folder here."""
    for scheme, folder in (("gs://", "gcs"), ("minio://", "minio"), ("s3://", "s3")):
        if uri.startswith(scheme):
            return pod_root / folder / uri.removeprefix(scheme)
    raise AssertionError(f"a root of {uri} is not supported")


def _without_null(value: Any, place: str) -> None:
    """Source: LAUNCHER, structpb to MLMD values: a null is an error."""
    if value is None:
        raise AssertionError(f"null at {place}")
    if isinstance(value, dict):
        for key, each in value.items():
            _without_null(each, f"{place}.{key}")
    if isinstance(value, list):
        for each in value:
            _without_null(each, place)
