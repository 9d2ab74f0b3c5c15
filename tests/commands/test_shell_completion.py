"""The scripts of `euclidesdb completion`, in the shells themselves where they are installed."""

from __future__ import annotations

import os
import pty
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

SECONDS = 100


def needs(shell: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(shell) is None, reason=f"{shell} is not installed")


@pytest.fixture(autouse=True)
def program(monkeypatch: pytest.MonkeyPatch) -> None:
    """The program `euclidesdb` is found."""
    folder = str(Path(sys.executable).parent)
    if shutil.which("euclidesdb", path=folder) is None:
        pytest.skip("the program euclidesdb is not installed")
    monkeypatch.setenv("PATH", folder + os.pathsep + os.environ["PATH"])


def printed(*command: str) -> list[str]:
    ended = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=True)
    return ended.stdout.split()


@needs("bash")
def test_bash_completes_options():
    script = (
        'eval "$(euclidesdb completion bash)"; COMP_WORDS=(euclidesdb find --pi); COMP_CWORD=2; '
        '_euclidesdb_completion euclidesdb; echo "${COMPREPLY[@]}"'
    )
    assert printed("bash", "--norc", "-c", script) == ["--picture"]


@needs("fish")
def test_fish_completes_commands_and_says_what_they_do():
    script = 'euclidesdb completion fish | source; complete -C "euclidesdb summ"'
    name, *words = printed("fish", "--no-config", "-c", script)
    assert name == "summarize"
    assert words


@needs("zsh")
def test_zsh_completes_options(tmp_path):
    process, terminal = pty.fork()
    if process == 0:
        os.environ.update(TERM="dumb", PS1="> ", HOME=str(tmp_path))
        os.execvp("zsh", ["zsh", "-f", "-i"])
    try:
        setup = 'autoload -U compinit && compinit -u -D; eval "$(euclidesdb completion zsh)"'
        os.write(terminal, f'{setup}; echo rea""dy\n'.encode())
        assert "ready\r" in read_until(terminal, "ready\r")
        os.write(terminal, b"euclidesdb find --pict\t")
        assert "find --picture" in read_until(terminal, "--picture")
    finally:
        os.close(terminal)
        os.waitpid(process, 0)


def read_until(terminal: int, text: str) -> str:
    """What a shell prints until there is a text in it; all of it if that does not come."""
    found, end = "", time.monotonic() + SECONDS
    while text not in found and time.monotonic() < end:
        if select.select([terminal], [], [], 1)[0]:
            found += os.read(terminal, 65536).decode()
    return found
