"""What is said when a port cannot be had."""

from __future__ import annotations

import socket

import pytest

from serving.errors import UserError
from serving.server.ports import check_free, reserve


def test_a_taken_port_is_told_without_the_systems_numbers() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UserError) as caught:
            check_free("127.0.0.1", port, "--port")
    assert f"cannot listen on --port={port}: Address already in use" in str(caught.value)


@pytest.mark.parametrize("host", ["192.0.2.1", "no such host"])
def test_an_address_that_is_not_this_machines_is_told_as_one(host: str) -> None:
    with pytest.raises(UserError) as caught:
        reserve(host, 0, "--rest_api_port")
    assert f"--host={host}" in str(caught.value)
    assert "0.0.0.0" in caught.value.fix
