"""A child process that ends with whoever waits for it, and whose last words are kept."""

import os
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import IO

from pref_assets.training.worker import PARENT

STDERR_LINES = 20
STOP_SECONDS = 10.0
"""How long a child may take to end when asked, before it is killed."""


@dataclass(frozen=True)
class Ended:
    """Exit code and last lines of stderr."""

    code: int
    stderr: str


def run_child(command: Sequence[str], env: Mapping[str, str]) -> Ended:
    """Runs the command to its end. The child ends with this call, however the call ends.

    Args:
        command: what to run; the word ``python`` is this interpreter, behind a launcher too.
        env: what is added to this process's environment.
    """
    words = [sys.executable if word == "python" else word for word in command]
    whole = {**os.environ, "PYTHONFAULTHANDLER": "1", PARENT: str(os.getpid()), **env}
    return _watch(subprocess.Popen(words, env=whole, stderr=subprocess.PIPE))


def _watch(process: "subprocess.Popen[bytes]") -> Ended:
    assert process.stderr is not None
    tail: deque[str] = deque(maxlen=STDERR_LINES)
    reader = threading.Thread(target=_tee, args=(process.stderr, tail), daemon=True)
    reader.start()
    try:
        process.wait()
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        reader.join(STOP_SECONDS)
    return Ended(process.returncode, "\n".join(tail))


def _tee(stream: IO[bytes], tail: deque[str]) -> None:
    """Passes the child's stderr on as it comes and keeps its last lines."""
    rest = b""
    while chunk := os.read(stream.fileno(), 65_536):
        os.write(2, chunk)
        *lines, rest = (rest + chunk).split(b"\n")
        tail.extend(shown(line) for line in lines)
    if rest:
        tail.append(shown(rest))


def shown(line: bytes) -> str:
    """A line as a terminal would show it in the end: what a carriage return overwrote is gone."""
    return line.decode(errors="replace").rstrip("\r").rpartition("\r")[2][:500]
