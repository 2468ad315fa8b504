"""PredictionService and ModelService, with the stubs of tensorflow-serving-api."""

import logging
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from google.protobuf import any_pb2
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    model_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)
from tensorflow_serving.config import model_server_config_pb2

from serving.server.core import Call, Core, Target
from serving.server.example_calls import (
    classify_plan,
    classify_result,
    examples_of,
    multi_inference_plan,
    multi_inference_results,
    regress_plan,
    regress_result,
)
from serving.server.inference import predict_plan, predict_signature
from serving.server.saved_model import LoadedModel
from serving.server.status import Code, from_runtime, grpc_message, invalid
from serving.server.tensors import array_from_proto, fill_proto

__all__ = ["ModelServicer", "PredictionServicer", "metadata_response", "status_response"]

Reconfigure = Callable[[model_server_config_pb2.ModelServerConfig], Awaitable[None]]

SIGNATURE_DEF = "signature_def"
_STATUS_CODES = {status.value[0]: status for status in grpc.StatusCode}
log = logging.getLogger("kubetfx.serve")


def target_of(request: Any) -> Target:
    """Turns the ModelSpec of a request into the model that it asks for.

    Raises:
        ServingStatus: INVALID_ARGUMENT when there is no ModelSpec.
    """
    if not request.HasField("model_spec"):
        raise invalid("Missing ModelSpec")
    return _target(request.model_spec)


def _target(spec: model_pb2.ModelSpec) -> Target:
    version = spec.version.value if spec.HasField("version") else None
    return Target(spec.name, version, spec.version_label)


async def _abort(context: grpc.aio.ServicerContext, error: Exception) -> None:
    status = from_runtime(error)
    if status.code is Code.INTERNAL and status is not error:
        log.error("a request failed unexpectedly", exc_info=error)
    await context.abort(_STATUS_CODES[int(status.code)], grpc_message(status.message))


def _fill_spec(spec: model_pb2.ModelSpec, call: Call, signature: str) -> None:
    spec.name = call.target.name
    if signature:
        spec.signature_name = signature
    if call.served is not None:
        spec.version.value = call.served.number


class PredictionServicer(prediction_service_pb2_grpc.PredictionServiceServicer):
    """The five calls of PredictionService."""

    def __init__(self, core: Core) -> None:
        self._core = core

    async def Predict(  # noqa: N802  the service's name for it
        self, request: predict_pb2.PredictRequest, context: grpc.aio.ServicerContext
    ) -> predict_pb2.PredictResponse:
        """Runs any signature on named tensors."""
        return await self._inference("Predict", request, context, self._predict)

    async def Classify(  # noqa: N802
        self, request: classification_pb2.ClassificationRequest, context: grpc.aio.ServicerContext
    ) -> classification_pb2.ClassificationResponse:
        """Runs a classify signature on examples."""
        return await self._inference("Classify", request, context, self._classify)

    async def Regress(  # noqa: N802
        self, request: regression_pb2.RegressionRequest, context: grpc.aio.ServicerContext
    ) -> regression_pb2.RegressionResponse:
        """Runs a regress signature on examples."""
        return await self._inference("Regress", request, context, self._regress)

    async def _inference(
        self,
        api: str,
        request: Any,
        context: grpc.aio.ServicerContext,
        answer: Callable[[Call, LoadedModel, Any], Awaitable[Any]],
    ) -> Any:
        try:
            target = target_of(request)
            with (
                self._core.call(target, api, "GRPC") as call,
                self._core.find(call).lease() as model,
            ):
                return await answer(call, model, request)
        except Exception as error:  # noqa: BLE001  every fault becomes a status
            await _abort(context, error)

    async def _predict(
        self, call: Call, model: LoadedModel, request: predict_pb2.PredictRequest
    ) -> predict_pb2.PredictResponse:
        signature = predict_signature(model, request.model_spec.signature_name)
        limit = self._core.max_request_bytes
        inputs = {
            alias: (array_from_proto(tensor, alias, limit), tensor.dtype)
            for alias, tensor in request.inputs.items()
        }
        plan = predict_plan(model, signature, inputs, request.output_filter)
        results = await self._core.run(call, plan)
        response = predict_pb2.PredictResponse()
        _fill_spec(response.model_spec, call, plan.signature)
        for spec, array in plan.named(results).items():
            fill_proto(response.outputs[spec.alias], array, spec.dtype)
        return response

    async def _classify(
        self, call: Call, model: LoadedModel, request: classification_pb2.ClassificationRequest
    ) -> classification_pb2.ClassificationResponse:
        rows = examples_of(request.input)
        plan = classify_plan(model, request.model_spec.signature_name, rows)
        results = await self._core.run(call, plan)
        response = classification_pb2.ClassificationResponse(
            result=classify_result(plan.named(results), len(rows))
        )
        _fill_spec(response.model_spec, call, plan.signature)
        return response

    async def _regress(
        self, call: Call, model: LoadedModel, request: regression_pb2.RegressionRequest
    ) -> regression_pb2.RegressionResponse:
        rows = examples_of(request.input)
        plan = regress_plan(model, request.model_spec.signature_name, rows)
        results = await self._core.run(call, plan)
        response = regression_pb2.RegressionResponse(
            result=regress_result(plan.named(results), len(rows))
        )
        _fill_spec(response.model_spec, call, plan.signature)
        return response

    async def MultiInference(  # noqa: N802
        self, request: inference_pb2.MultiInferenceRequest, context: grpc.aio.ServicerContext
    ) -> inference_pb2.MultiInferenceResponse:
        """Runs several classify and regress signatures on the same examples at once."""
        try:
            if not request.tasks:
                raise invalid("Inference request must have at least one task.")
            target = _target(request.tasks[0].model_spec)
            with (
                self._core.call(target, "MultiInference", "GRPC") as call,
                self._core.find(call).lease() as model,
            ):
                rows = examples_of(request.input)
                plan = multi_inference_plan(model, request, rows)
                results = await self._core.run(call, plan)
                answers = multi_inference_results(model, request, plan, results, len(rows))
                for answer in answers:
                    _fill_spec(answer.model_spec, call, "")
                return inference_pb2.MultiInferenceResponse(results=answers)
        except Exception as error:  # noqa: BLE001
            await _abort(context, error)
        raise AssertionError("abort always raises")

    async def GetModelMetadata(  # noqa: N802
        self,
        request: get_model_metadata_pb2.GetModelMetadataRequest,
        context: grpc.aio.ServicerContext,
    ) -> get_model_metadata_pb2.GetModelMetadataResponse:
        """Tells the signatures of a model."""
        try:
            target = target_of(request)
            return metadata_response(self._core, target, list(request.metadata_field))
        except Exception as error:  # noqa: BLE001
            await _abort(context, error)
        raise AssertionError("abort always raises")


def metadata_response(
    core: Core, target: Target, fields: list[str]
) -> get_model_metadata_pb2.GetModelMetadataResponse:
    """Describes the signatures of a model.

    Raises:
        ServingStatus: INVALID_ARGUMENT for fields other than `signature_def`; NOT_FOUND for an
            unknown model.
    """
    if not fields:
        raise invalid("GetModelMetadataRequest must specify at least one metadata_field")
    for field in fields:
        if field != SIGNATURE_DEF:
            raise invalid(f"Metadata field {field} is not supported")
    served = core.registry.find(target.name, target.version, target.label)
    with served.lease() as model:
        signatures = get_model_metadata_pb2.SignatureDefMap()
        for key, signature in model.signatures.items():
            signatures.signature_def[key].CopyFrom(signature.definition)
    response = get_model_metadata_pb2.GetModelMetadataResponse()
    response.model_spec.name = target.name
    response.model_spec.version.value = served.number
    packed = any_pb2.Any()
    packed.Pack(signatures)
    response.metadata[SIGNATURE_DEF].CopyFrom(packed)
    return response


def status_response(core: Core, target: Target) -> get_model_status_pb2.GetModelStatusResponse:
    """Describes the states of a model's versions; a label in the request changes nothing.

    Raises:
        ServingStatus: NOT_FOUND for an unknown model or version.
    """
    response = get_model_status_pb2.GetModelStatusResponse()
    for version in core.registry.states(target.name, target.version):
        status = response.model_version_status.add()
        status.version = version.number
        status.state = version.state.value
        status.status.error_code = int(version.error.code) if version.error else 0
        status.status.error_message = version.error.message if version.error else ""
    return response


class ModelServicer(model_service_pb2_grpc.ModelServiceServicer):
    """The two calls of ModelService."""

    def __init__(self, core: Core, reconfigure: Reconfigure) -> None:
        self._core = core
        self._reconfigure = reconfigure

    async def GetModelStatus(  # noqa: N802
        self, request: get_model_status_pb2.GetModelStatusRequest, context: grpc.aio.ServicerContext
    ) -> get_model_status_pb2.GetModelStatusResponse:
        """Tells which versions of a model are loaded, loading or gone."""
        try:
            return status_response(self._core, target_of(request))
        except Exception as error:  # noqa: BLE001
            await _abort(context, error)
        raise AssertionError("abort always raises")

    async def HandleReloadConfigRequest(  # noqa: N802
        self,
        request: model_management_pb2.ReloadConfigRequest,
        context: grpc.aio.ServicerContext,
    ) -> model_management_pb2.ReloadConfigResponse:
        """Takes over a new list of models."""
        try:
            if request.config.WhichOneof("config") != "model_config_list":
                raise invalid(
                    "ServerModelConfig type not supported by HandleReloadConfigRequest. Only "
                    "ModelConfigList is currently supported"
                )
            await self._reconfigure(request.config)
            return model_management_pb2.ReloadConfigResponse()
        except Exception as error:  # noqa: BLE001
            await _abort(context, error)
        raise AssertionError("abort always raises")
