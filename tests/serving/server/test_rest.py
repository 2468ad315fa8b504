"""The REST API against what TensorFlow Serving answers."""

from __future__ import annotations

import base64
import gzip
import http.client
import json
from typing import Any
from urllib.parse import urlsplit

import pytest


def call(server: Any, method: str, path: str, body: bytes | str = b"", **headers: str) -> Any:
    address = urlsplit(server.rest_url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=30)
    try:
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        return response.status, response.read().decode("utf-8", "surrogateescape")
    finally:
        connection.close()


def post(server: Any, model: str, body: bytes | str, verb: str = "predict", **kw: str) -> Any:
    return call(server, "POST", f"/v1/models/{model}:{verb}", body, **kw)


def error(answer: tuple[int, str]) -> tuple[int, str]:
    return answer[0], json.loads(answer[1])["error"]


def test_row_format_prints_what_tensorflow_serving_prints(everything: Any) -> None:
    status, text = post(everything, "half_plus_two/versions/1", '{"instances": [1.0, 2, 5.0]}')
    assert status == 200
    assert text == '{\n    "predictions": [2.5, 3.0, 4.5\n    ]\n}'


def test_columns_print_one_value_a_line(everything: Any) -> None:
    body = '{"inputs": [[1.0], [2.0]], "unknown": 1}'
    status, text = post(everything, "half_plus_two/labels/stable", body)
    assert status == 200
    assert text == (
        '{\n    "outputs": [\n        [\n            2.5\n        ],\n        [\n'
        "            3.0\n        ]\n    ]\n}"
    )


def test_several_outputs_become_objects(everything: Any) -> None:
    body = '{"instances": [{"x": [1, 2.25], "z": 3}, {"x": [NaN, 2], "z": 4}]}'
    status, text = post(everything, "types", body)
    assert status == 200
    assert text == (
        '{\n    "predictions": [\n'
        '        {\n            "total": 6.25,\n            "twice": 6,\n'
        '            "x": [1.0, 2.25]\n        },\n'
        '        {\n            "total": NaN,\n            "twice": 8,\n'
        '            "x": [NaN, 2.0]\n        }\n    ]\n}'
    )


@pytest.mark.parametrize(
    ("given", "printed"),
    [
        ("9000000", "9e+06"),
        ("999999", "999999.0"),
        ("0.0003", "0.0003"),
        ("0.00003", "3e-05"),
        ("555557.5", "555557.5"),
        ("0.1", "0.1"),
        ("0.2000001", "0.200000107"),
        ("Infinity", "Infinity"),
        ("-Inf", "-Infinity"),
        ("-0.0", "-0.0"),
    ],
)
def test_floats_print_as_tensorflow_serving_prints_them(
    everything: Any, given: str, printed: str
) -> None:
    body = f'{{"signature_name": "float", "instances": [{given}]}}'
    assert post(everything, "types", body) == (
        200,
        f'{{\n    "predictions": [{printed}\n    ]\n}}',
    )


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("double", [0.1, 1e300, 3.0]),
        ("int32", [-5, 7]),
        ("int64", [-(2**63), 2**63 - 1]),
        ("uint8", [0, 255]),
        ("int8", [-128, 127]),
        ("uint32", [2**32 - 1]),
        ("uint64", [2**64 - 1]),
        ("string", ['é\n"', ""]),
        ("bool", [True, False]),
        ("string", [["a", "b"], ["c", "d"]]),
        ("int32", [[[1, 2], [3, 4]], [[5, 6], [7, 8]]]),
        ("float", [[], []]),
    ],
)
def test_every_type_comes_back_as_it_went(everything: Any, kind: str, values: list[Any]) -> None:
    for key, answer in (("instances", "predictions"), ("inputs", "outputs")):
        body = json.dumps({"signature_name": kind, key: values})
        status, text = post(everything, "types", body)
        assert status == 200, text
        assert json.loads(text)[answer] == values


def test_binary_goes_in_and_out_as_base64(everything: Any) -> None:
    raw = b"\x00\xff\xfe not utf-8"
    encoded = base64.b64encode(raw).decode()
    body = json.dumps({"signature_name": "bytes", "instances": [{"b64": encoded}]})
    status, text = post(everything, "types", body)
    assert status == 200
    assert f'"image_bytes": {{"b64": "{encoded}"}}' in text
    # Outputs whose name does not say bytes are printed raw, as TensorFlow Serving does.
    assert b"\\u0000\xff\xfe not utf-8" in text.encode("utf-8", "surrogateescape")


def test_bytes_that_are_no_utf8_pass_through(everything: Any) -> None:
    body = b'{"signature_name": "string", "instances": ["a\xff\xfeb"]}'
    status, text = post(everything, "types", body)
    assert status == 200
    assert b'"a\xff\xfeb"' in text.encode("utf-8", "surrogateescape")


def test_classify_and_regress_answer_with_results(everything: Any) -> None:
    body = '{"signature_name": "%s", "context": {"y": 1}, "examples": [{"x": 1.0}, {"x": [3.0]}]}'
    status, text = post(everything, "half_plus_two/versions/1", body % "classify", "classify")
    assert status == 200
    assert json.loads(text) == {
        "results": [[["yes", 2.5], ["no", -2.5]], [["yes", 3.5], ["no", -3.5]]]
    }
    status, text = post(everything, "half_plus_two/versions/1", body % "regress", "regress")
    assert (status, text) == (200, '{\n    "results": [2.5, 3.5]\n}')


def test_gzip_bodies_are_understood(everything: Any) -> None:
    body = gzip.compress(b'{"instances": [1.0]}')
    status, text = post(
        everything, "half_plus_two/versions/1", body, **{"content-encoding": "gzip"}
    )
    assert status == 200
    assert "2.5" in text


def test_status_and_metadata_look_like_tensorflow_servings(everything: Any) -> None:
    status, text = call(everything, "GET", "/v1/models/half_plus_two")
    assert status == 200
    entries = json.loads(text)["model_version_status"]
    assert [entry["version"] for entry in entries] == ["2", "1"]
    assert entries[0]["state"] == "AVAILABLE"
    assert entries[0]["status"] == {"error_code": "OK", "error_message": ""}
    assert text.startswith('{\n "model_version_status": [\n  {\n   "version": "2",')
    status, text = call(everything, "GET", "/v1/models/half_plus_two/versions/1/metadata")
    document = json.loads(text)
    assert document["model_spec"]["version"] == "1"
    described = document["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert described["inputs"]["x"]["dtype"] == "DT_FLOAT"
    assert described["method_name"] == "tensorflow/serving/predict"


MISSING = '{"instances": [1.0]}'
HALF = "half_plus_two/versions/1"


@pytest.mark.parametrize(
    ("path", "body", "expected"),
    [
        ("nope:predict", MISSING, (404, "Servable not found for request: Latest(nope)")),
        (
            "half_plus_two/versions/50:predict",
            MISSING,
            (404, "Servable not found for request: Specific(half_plus_two, 50)"),
        ),
        (
            "half_plus_two/labels/x:predict",
            MISSING,
            (400, "Unrecognized servable version label: x"),
        ),
        # Bad JSON on a missing model is 400, not 404.
        ("nope:predict", "instances", (400, "JSON Parse error: Invalid value. at offset: 0")),
        (f"{HALF}:predict", "", (400, "JSON Parse error: The document is empty")),
        (f"{HALF}:predict", "{}", (400, "Missing 'inputs' or 'instances' key")),
        (f"{HALF}:predict", "[1]", (400, "JSON Value: [\n    1\n] Is not object")),
        (
            f"{HALF}:predict",
            '{"signature_name": 100}',
            (
                400,
                'JSON Value: {\n    "signature_name": 100\n} not formatted correctly. '
                "'signature_name' key must be a string value.",
            ),
        ),
        (
            f"{HALF}:predict",
            '{"signature_name": "s", "instances": [1]}',
            (400, 'Serving signature name: "s" not found in signature def'),
        ),
        (
            f"{HALF}:predict",
            '{"instances": ["x"]}',
            (
                400,
                "Failed to process element: 0 of 'instances' list. Error: INVALID_ARGUMENT: "
                'JSON Value: "x" Type: String is not of expected type: float',
            ),
        ),
        (
            f"{HALF}:predict",
            '{"inputs": "x"}',
            (400, 'JSON Value: "x" Type: String is not of expected type: float'),
        ),
        (
            f"{HALF}:predict",
            '{"instances": [[1, 2], [1, 2, 3]]}',
            (
                400,
                "Failed to process element: 1 of 'instances' list. Error: INVALID_ARGUMENT: "
                "Expecting tensor size: 2 but got: 3",
            ),
        ),
        (
            f"{HALF}:predict",
            '{"instances": [[1, 2], [[1, 2]]]}',
            (
                400,
                "Failed to process element: 1 of 'instances' list. Error: INVALID_ARGUMENT: "
                "Expecting shape [2] but got: [1,2]",
            ),
        ),
        (
            f"{HALF}:predict",
            '{"inputs": [[1, 2], [3]]}',
            (
                400,
                "Encountered list at unexpected size: 1 at level: 1 expected size: 2",
            ),
        ),
        (
            f"{HALF}:predict",
            '{"instances": [16777217]}',
            (
                400,
                "Failed to process element: 0 of 'instances' list. Error: INVALID_ARGUMENT: "
                "Cannot convert JSON value: 16777217 to float without loss of precision.",
            ),
        ),
        (
            "types:predict",
            '{"instances": [{"x": [1, 2], "z": 1, "q": 5}]}',
            (
                400,
                "Failed to process element: 0 key: q of 'instances' list. Error: "
                "INVALID_ARGUMENT: JSON object: does not have named input: q",
            ),
        ),
        (
            "types:predict",
            '{"instances": [{"x": [1, 2]}]}',
            (
                400,
                "Failed to process element: 0 of 'instances' list. JSON object: {\n    \"x\": [\n"
                "        1,\n        2\n    ]\n} keys must be equal to: x,z",
            ),
        ),
        (
            "types:predict",
            '{"instances": [1]}',
            (
                400,
                "instances is a plain list, but expecting list of objects as multiple input "
                "tensors required as per tensorinfo_map",
            ),
        ),
        (
            "types:predict",
            '{"inputs": {"z": [1]}}',
            (400, "Missing named input: x in 'inputs' object."),
        ),
        (
            "types:predict",
            '{"signature_name": "half", "instances": [1.5]}',
            (
                400,
                "Failed to process element: 0 of 'instances' list. Error: UNIMPLEMENTED: "
                "Conversion of JSON Value: 1.5 to type: half",
            ),
        ),
        (
            "types:predict",
            '{"signature_name": "half", "inputs": 1.5}',
            (501, "Conversion of JSON Value: 1.5 to type: half"),
        ),
        (
            "types:predict",
            '{"signature_name": "scalar", "instances": [[1, 2]]}',
            (400, "Tensor name: y has no shape information "),
        ),
        (
            "types:predict",
            '{"signature_name": "uneven", "inputs": {"x": [[1, 2]]}}',
            (400, "You must feed a value"),
        ),
        (
            f"{HALF}:classify",
            '{"signature_name": "zz", "examples": [{"x": 1.0}]}',
            (400, "No signature was found with the name: zz"),
        ),
        (
            f"{HALF}:classify",
            '{"examples": [{"x": 1.0}]}',
            (
                400,
                "Expected classification signature method_name to be tensorflow/serving/classify."
                " Was: tensorflow/serving/predict",
            ),
        ),
        (
            f"{HALF}:regress",
            '{"signature_name": "regress", "examples": [{"x": [1, 2.5]}]}',
            (400, "Unexpected element type in feature: x expecting type: int64"),
        ),
        (
            f"{HALF}:predict",
            '{"signature_name": "wrong_method", "instances": [1]}',
            (
                500,
                "Expected prediction signature method_name to be one of "
                "{tensorflow/serving/predict, tensorflow/serving/classify, "
                "tensorflow/serving/regress}. Was: tensorflow/serving/nonsense",
            ),
        ),
    ],
)
def test_bad_requests_get_tensorflow_servings_texts(
    everything: Any, path: str, body: str, expected: tuple[int, str]
) -> None:
    status, text = error(call(everything, "POST", f"/v1/models/{path}", body))
    if expected[1] == "You must feed a value":
        assert status == 400
    else:
        assert (status, text) == expected


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "/v1/models/nope", (404, "Could not find any versions of model nope")),
        (
            "GET",
            "/v1/models/half_plus_two/versions/9",
            (404, "Could not find version 9 of model half_plus_two"),
        ),
        ("GET", "/v1/models", (400, "Missing model name in request.")),
        ("GET", "/v1/x", (400, "Malformed request: GET /v1/x")),
        ("PUT", "/v1/models/a", (400, "Malformed request: PUT /v1/models/a")),
        # A query is part of the path to TensorFlow Serving, and may end up in the name.
        ("GET", "/v1/models/a?b=c", (404, "Could not find any versions of model a?b=c")),
        (
            "GET",
            "/v1/models/a/versions/1?b=c",
            (400, "Malformed request: GET /v1/models/a/versions/1?b=c"),
        ),
        (
            "GET",
            "/v1/models/a/versions/99999999999999999999",
            (400, "Failed to convert version: 99999999999999999999 to numeric."),
        ),
    ],
)
def test_odd_paths_get_tensorflow_servings_texts(
    everything: Any, method: str, path: str, expected: tuple[int, str]
) -> None:
    assert error(call(everything, method, path)) == expected


def test_paths_outside_are_bare_404(everything: Any) -> None:
    assert call(everything, "GET", "/") == (404, "")
    assert call(everything, "POST", "/v2/models/x:predict", "{}") == (404, "")


def test_paths_ignore_case_and_decode_names(everything: Any) -> None:
    status, text = call(
        everything, "POST", "/V1/Models/half%5Fplus_two/Versions/1:Predict", '{"instances": [1.0]}'
    )
    assert status == 200, text


def test_bytes_after_the_object_are_ignored(everything: Any) -> None:
    status, _ = post(everything, HALF, '{"instances": [1.0]} trailing')
    assert status == 200


def test_prometheus_page_counts_by_model_and_version(everything: Any) -> None:
    post(everything, HALF, '{"instances": [1.0]}')
    post(everything, HALF, '{"instances": ["x"]}')
    post(everything, "no_such_model", '{"instances": [1.0]}')
    status, page = call(everything, "GET", "/monitoring/prometheus/metrics")
    assert status == 200
    assert '\n:tensorflow:serving:request_count{model_name="half_plus_two",status="OK"} ' in page
    assert 'model_name="half_plus_two",status="INVALID_ARGUMENT"' in page
    latency = ':tensorflow:serving:request_latency_bucket{model_name="half_plus_two",API="Predict"'
    assert latency + ',entrypoint="REST",le="+Inf"}' in page
    assert ':tensorflow:serving:runtime_latency_sum{model_name="half_plus_two"' in page
    assert ':kubetfx:serving:version_request_count{model_name="half_plus_two",version="1"' in page
    assert "no_such_model" not in page
