"""The gRPC API, called with the stubs of tensorflow-serving-api as they come."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import pytest


@pytest.fixture(scope="module")
def channel(everything: Any) -> Iterator[Any]:
    with grpc.insecure_channel(everything.grpc_address) as open_channel:
        yield open_channel


@pytest.fixture(scope="module")
def prediction(channel: Any) -> Any:
    from tensorflow_serving.apis import prediction_service_pb2_grpc

    return prediction_service_pb2_grpc.PredictionServiceStub(channel)


def predict_request(model: str, signature: str = "", **inputs: Any) -> Any:
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2

    request = predict_pb2.PredictRequest()
    request.model_spec.name = model
    request.model_spec.signature_name = signature
    for name, value in inputs.items():
        request.inputs[name].CopyFrom(
            value
            if hasattr(value, "dtype") and hasattr(value, "tensor_shape")
            else tf.make_tensor_proto(value)
        )
    return request


def failure(call: Any, request: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as caught:
        call(request, timeout=30)
    error: Any = caught.value
    return error.code(), error.details()


def test_predict_answers_in_typed_fields_with_the_version(prediction: Any) -> None:
    request = predict_request("half_plus_two", x=np.array([1, 2], np.float32))
    request.model_spec.version.value = 1
    response = prediction.Predict(request, timeout=30)
    assert list(response.outputs["y"].float_val) == [2.5, 3.0]
    assert not response.outputs["y"].tensor_content
    assert response.model_spec.version.value == 1
    assert response.model_spec.signature_name == "serving_default"
    request.model_spec.ClearField("version")
    assert prediction.Predict(request, timeout=30).model_spec.version.value == 2
    request.model_spec.version_label = "stable"
    assert prediction.Predict(request, timeout=30).model_spec.version.value == 1


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [
        ("float", "float32"), ("double", "float64"), ("int32", "int32"), ("int64", "int64"),
        ("uint8", "uint8"), ("int8", "int8"), ("uint32", "uint32"), ("uint64", "uint64"),
        ("bool", "bool"), ("half", "float16"),
    ],
)  # fmt: skip
def test_every_type_survives_in_fields_and_in_content(
    prediction: Any, kind: str, dtype: str
) -> None:
    import tensorflow as tf

    for size in (3, 100):
        values = (np.arange(size) % 2).astype(dtype).reshape(-1, 1)
        as_content = tf.make_tensor_proto(values)
        as_field = tf.make_tensor_proto(
            values.ravel().tolist(), tf.as_dtype(values.dtype), values.shape
        )
        for tensor in (as_content, as_field):
            request = predict_request("types", kind, x=tensor)
            response = prediction.Predict(request, timeout=30)
            answer = tf.make_ndarray(response.outputs["y"])
            assert answer.dtype == values.dtype
            np.testing.assert_array_equal(answer, values)


def test_short_value_lists_repeat_the_last_value(prediction: Any) -> None:
    from tensorflow.core.framework import tensor_pb2, types_pb2

    tensor = tensor_pb2.TensorProto(dtype=types_pb2.DT_INT32, int_val=[4, 7])
    tensor.tensor_shape.dim.add().size = 4
    response = prediction.Predict(predict_request("types", "int32", x=tensor), timeout=30)
    assert list(response.outputs["y"].int_val) == [4, 7, 7, 7]


def test_strings_in_packed_content_are_read(prediction: Any) -> None:
    from tensorflow.core.framework import tensor_pb2, types_pb2

    tensor = tensor_pb2.TensorProto(dtype=types_pb2.DT_STRING, tensor_content=b"\x02\x00hi")
    tensor.tensor_shape.dim.add().size = 2
    response = prediction.Predict(predict_request("types", "string", x=tensor), timeout=30)
    assert list(response.outputs["y"].string_val) == [b"hi", b""]


def test_output_filter_gives_only_what_was_asked_for(prediction: Any) -> None:
    request = predict_request("types", x=np.ones((1, 2), np.float32), z=np.array([1]))
    request.output_filter.append("twice")
    response = prediction.Predict(request, timeout=30)
    assert list(response.outputs) == ["twice"]


def test_classify_regress_and_multi_inference(prediction: Any) -> None:
    import tensorflow as tf
    from tensorflow_serving.apis import classification_pb2, inference_pb2, regression_pb2

    def example(x: float) -> Any:
        feature = tf.train.Feature(float_list=tf.train.FloatList(value=[x]))
        return tf.train.Example(features=tf.train.Features(feature={"x": feature}))

    classify = classification_pb2.ClassificationRequest()
    classify.model_spec.name, classify.model_spec.signature_name = "half_plus_two", "classify"
    classify.input.example_list.examples.extend([example(1), example(3)])
    classes = prediction.Classify(classify, timeout=30).result.classifications
    assert [[(c.label, c.score) for c in row.classes] for row in classes] == [
        [("yes", 3.5), ("no", -3.5)],
        [("yes", 4.5), ("no", -4.5)],
    ]

    regress = regression_pb2.RegressionRequest()
    regress.model_spec.name, regress.model_spec.signature_name = "half_plus_two", "regress"
    regress.model_spec.version.value = 1
    # The context has the feature, the rows have none.
    regress.input.example_list_with_context.context.CopyFrom(example(2))
    regress.input.example_list_with_context.examples.add()
    values = prediction.Regress(regress, timeout=30).result.regressions
    assert [item.value for item in values] == [3.0]

    several = inference_pb2.MultiInferenceRequest()
    several.input.example_list.examples.append(example(1))
    for method in ("classify", "regress"):
        task = several.tasks.add(method_name=f"tensorflow/serving/{method}")
        task.model_spec.name, task.model_spec.signature_name = "half_plus_two", method
    results = prediction.MultiInference(several, timeout=30).results
    assert results[0].classification_result.classifications[0].classes[0].score == 3.5
    assert results[1].regression_result.regressions[0].value == 3.5
    assert results[1].model_spec.version.value == 2


def test_metadata_has_the_signatures(prediction: Any) -> None:
    from tensorflow_serving.apis import get_model_metadata_pb2

    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = "tabular"
    response = prediction.GetModelMetadata(request, timeout=30)
    signatures = get_model_metadata_pb2.SignatureDefMap()
    response.metadata["signature_def"].Unpack(signatures)
    assert "art der Zahlung (é)" in signatures.signature_def["columns"].inputs

    code = grpc.StatusCode.INVALID_ARGUMENT
    request.ClearField("metadata_field")
    assert failure(prediction.GetModelMetadata, request) == (
        code, "GetModelMetadataRequest must specify at least one metadata_field",
    )  # fmt: skip
    request.metadata_field.append("graph")
    assert failure(prediction.GetModelMetadata, request) == (
        code, "Metadata field graph is not supported",
    )  # fmt: skip


INVALID = grpc.StatusCode.INVALID_ARGUMENT
ONE = np.array([1], np.float32)


@pytest.mark.parametrize(
    ("model", "signature", "inputs", "expected"),
    [
        ("", "", {}, (INVALID, "ModelSpec has no name specified.")),
        (
            "nope", "", {},
            (grpc.StatusCode.NOT_FOUND, "Servable not found for request: Latest(nope)"),
        ),
        (
            "half_plus_two", "s", {"x": ONE},
            (grpc.StatusCode.FAILED_PRECONDITION, 'Serving signature key "s" not found.'),
        ),
        (
            "half_plus_two", "", {"a": ONE, "x": ONE},
            (
                INVALID,
                "input size does not match signature: 2!=1 len({a,x}) != len({x}). "
                "Sent extra: {a}. Missing but required: {}.",
            ),
        ),
        (
            "half_plus_two", "", {"a": ONE},
            (
                INVALID,
                "input tensor alias not found in signature: a. Inputs expected to be in the set "
                "{x}.",
            ),
        ),
        (
            "half_plus_two", "", {"x": np.array([1])},
            (INVALID, "Expects arg[0] to be float but int64 is provided"),
        ),
    ],
)  # fmt: skip
def test_bad_predicts_get_tensorflow_servings_texts(
    prediction: Any, model: str, signature: str, inputs: dict[str, Any], expected: Any
) -> None:
    request = predict_request(model, signature, **inputs)
    assert failure(prediction.Predict, request) == expected


def test_unknown_outputs_versions_and_labels_are_named(prediction: Any) -> None:
    request = predict_request("half_plus_two", x=ONE)
    request.output_filter.append("q")
    assert failure(prediction.Predict, request) == (
        INVALID,
        "output tensor alias not found in signature: q Outputs expected to be in the set {y}.",
    )
    request = predict_request("half_plus_two", x=ONE)
    request.model_spec.version.value = 50
    assert failure(prediction.Predict, request) == (
        grpc.StatusCode.NOT_FOUND,
        "Servable not found for request: Specific(half_plus_two, 50)",
    )
    request.model_spec.version_label = "L"
    assert failure(prediction.Predict, request) == (
        INVALID, "Unrecognized servable version label: L",
    )  # fmt: skip


def test_long_messages_are_cut_as_tensorflow_serving_cuts_them(prediction: Any) -> None:
    request = predict_request("half_plus_two", "", **{"n" * 2000: ONE})
    _, details = failure(prediction.Predict, request)
    assert len(details) == 1024 + len("...TRUNCATED")
    assert details.endswith("...TRUNCATED")


@pytest.mark.parametrize(
    ("shape", "values"),
    [([10**12], [1.0]), ([-1], [1.0]), ([2**62, 2**62], []), ([1 << 24], [])],
)
def test_shapes_that_ask_for_too_much_are_refused(
    prediction: Any, shape: list[int], values: list[float]
) -> None:
    from tensorflow.core.framework import tensor_pb2, types_pb2

    tensor = tensor_pb2.TensorProto(dtype=types_pb2.DT_FLOAT, float_val=values)
    for size in shape:
        tensor.tensor_shape.dim.add().size = size
    code, details = failure(prediction.Predict, predict_request("types", "float", x=tensor))
    assert code == INVALID
    assert details.startswith("tensor parsing error: x")


def test_too_large_messages_are_refused(prediction: Any) -> None:
    request = predict_request("types", "float", x=np.zeros(2 << 20, np.float32))
    code, _ = failure(prediction.Predict, request)
    assert code == grpc.StatusCode.RESOURCE_EXHAUSTED


def test_model_status_ignores_the_label(channel: Any) -> None:
    from tensorflow_serving.apis import get_model_status_pb2, model_service_pb2_grpc

    stub = model_service_pb2_grpc.ModelServiceStub(channel)
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = "half_plus_two"
    request.model_spec.version_label = "no such label"
    answer = stub.GetModelStatus(request, timeout=30)
    assert [item.version for item in answer.model_version_status] == [2, 1]
    assert {item.state for item in answer.model_version_status} == {30}
    request.model_spec.version.value = 9
    assert failure(stub.GetModelStatus, request) == (
        grpc.StatusCode.NOT_FOUND, "Could not find version 9 of model half_plus_two",
    )  # fmt: skip
    assert failure(stub.GetModelStatus, get_model_status_pb2.GetModelStatusRequest()) == (
        INVALID, "Missing ModelSpec",
    )  # fmt: skip


def test_health_is_serving(channel: Any) -> None:
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    stub = health_pb2_grpc.HealthStub(channel)
    for service in ("", "tensorflow.serving.PredictionService"):
        answer = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=30)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_session_service_is_not_implemented(channel: Any) -> None:
    call = channel.unary_unary("/tensorflow.serving.SessionService/SessionRun")
    code, _ = failure(call, b"")
    assert code == grpc.StatusCode.UNIMPLEMENTED
