"""A Docker engine by its command line, and containers as production should run them."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import euclidesdb

MEMORY: Final = "512m"
HARDENED: Final = (
    "--read-only",
    "--tmpfs=/tmp",
    "--cap-drop=ALL",
    "--security-opt=no-new-privileges",
    f"--memory={MEMORY}",
    f"--memory-swap={MEMORY}",
    "--pids-limit=250",
)
START_SECONDS: Final = 240.0
KEY: Final = re.compile(r"euclidesdb_[0-9a-f]{8}_[A-Za-z0-9_-]{43}")


def docker(*arguments: str | Path, stdin: str | None = None) -> str:
    """What a command prints on both streams. Raises AssertionError if it fails."""
    ran = subprocess.run(
        ["docker", *arguments],
        input=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, f"docker {' '.join(map(str, arguments))}\n{ran.stdout}"
    return ran.stdout


def inspected(name: str) -> dict[str, Any]:
    """Everything that the engine knows of a container, an image or a volume."""
    found: list[dict[str, Any]] = json.loads(docker("inspect", name))
    return found[0]


def printed_keys(container: str) -> list[str]:
    """The API keys in a container's log."""
    return KEY.findall(docker("logs", container))


def wait_until_healthy(container: str, wanted: str = "healthy") -> None:
    """Until the container's health check says so; fails if it ended."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        state = inspected(container)["State"]
        assert state["Running"], docker("logs", container)
        if state["Health"]["Status"] == wanted:
            return
        assert time.monotonic() < deadline, f"{state}\n{docker('logs', container)}"
        time.sleep(0.5)


class Container:
    """A running container of the image, with its port on this machine's loopback address."""

    def __init__(
        self,
        image: str,
        name: str,
        *,
        volume: str | None,
        options: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """volume: by name or folder, for /data; None: none."""
        self.name = name
        self.key = ""
        given = [f"--env={key}={value}" for key, value in (environment or {}).items()]
        if volume is not None:
            given.append(f"--volume={volume}:/data")
        docker(
            "run", "--detach", f"--name={name}", *HARDENED, "--publish=127.0.0.1::50000",
            "--health-interval=1s", "--health-retries=1", *given, *options, image,
        )  # fmt: skip

    @property
    def address(self) -> str:
        """It changes when the container is started again."""
        return docker("port", self.name, "50000").split()[0]

    def wait(self, wanted: str = "healthy") -> None:
        """Until its health check says so; the key of a first start is then in `key`."""
        wait_until_healthy(self.name, wanted)
        self.key = self.key or next(iter(printed_keys(self.name)), "")

    def client(self, **options: Any) -> euclidesdb.Client:
        """A client outside, with the key."""
        return euclidesdb.Client(self.address, api_key=self.key, **options)

    def python(self, program: str) -> str:
        """Run a program in it."""
        return docker("exec", self.name, "python", "-c", program)

    def start(self) -> None:
        """Start it again."""
        docker("start", self.name)
        self.wait()

    def remove(self) -> None:
        """Remove it and its anonymous volumes."""
        docker("rm", "--force", "--volumes", self.name)
