"""How a measured process is led: it says `ready`, begins at `go`, and stays to be looked at until `stop`."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Self

ROOT = Path(__file__).parents[2]
PATIENCE_S = 20.0


class Orders:
    """The child's side: orders are lines on its standard input."""

    def ready(self) -> None:
        print("ready", flush=True)
        self.wait("go")

    def wait(self, word: str) -> None:
        said = sys.stdin.readline().strip()
        if said != word:  # the parent is gone, or has given up
            raise SystemExit(f"waited for {word!r}, heard {said!r}")


def obey(orders: Orders, work: Callable[[], None]) -> None:
    orders.ready()
    work()
    orders.wait("stop")


class Child:
    """The parent's side of one measured process, ended when the block is left, however it is left."""

    def __init__(self, name: str, *arguments: object) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", f"tests.bench.{name}", *map(str, arguments)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
        )  # fmt: skip

    def __enter__(self) -> Self:
        assert self.process.stdout is not None
        said = self.process.stdout.readline().strip()
        if said != "ready":
            self.__exit__()
            raise AssertionError(f"{self.process.args!r} is not ready, it said {said!r}")
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(PATIENCE_S)
        self.process.stdin.close()
        self.process.stdout.close()

    @property
    def pid(self) -> int:
        return self.process.pid

    def order(self, word: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{word}\n")
        self.process.stdin.flush()

    def stop(self) -> str:
        """What it had to say in the end."""
        self.order("stop")
        said, _ = self.process.communicate(timeout=PATIENCE_S)
        assert self.process.returncode == 0, f"{self.process.args!r} ended with {self.process.returncode}"
        return said
