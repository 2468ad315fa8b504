"""Reserves ports, and says so plainly when somebody else has them."""

import errno
import socket

from serving.errors import UserError

__all__ = ["check_free", "port_taken", "reserve"]


def reserve(host: str, port: int, flag: str) -> socket.socket:
    """Binds a port without opening it: nobody can connect before it listens.

    Args:
        host: the address to listen on.
        port: the port; 0 or less takes any free one.
        flag: the option that named it, for the message.

    Raises:
        UserError: when the port is taken or the address is not this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    reserved = socket.socket(family, socket.SOCK_STREAM)
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        reserved.bind((host, max(port, 0)))
    except OSError as error:
        reserved.close()
        raise _refused(host, port, flag, error) from error
    return reserved


def _refused(host: str, port: int, flag: str, error: OSError) -> UserError:
    """Says why the system does not give a port."""
    if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
        return UserError(
            f"cannot listen on --host={host}: {error.strerror}",
            expected="a name or address of this machine",
            fix="127.0.0.1 for this machine only, 0.0.0.0 to be reached from elsewhere",
        )
    return port_taken(flag, port, error.strerror or str(error))


def check_free(host: str, port: int, flag: str) -> None:
    """Tries a port; see `reserve`. Port 0 and below need no try."""
    if port > 0:
        reserve(host, port, flag).close()


def port_taken(flag: str, port: int, reason: str) -> UserError:
    """Says that a port cannot be had."""
    return UserError(
        f"cannot listen on {flag}={port}: {reason}",
        expected="a port that nobody uses",
        fix=f"stop the other server, or choose another {flag}",
    )
