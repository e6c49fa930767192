"""A directory tree that stands for `/`: what the kernel would show as files, for drivers that read files."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from gateway.driver import PolledDriver
from gateway.event import Reading


class FileTree:
    """A root of one's own. Paths are relative to it: `sys/class/thermal/thermal_zone0/temp`."""

    def __init__(self) -> None:
        self._directory = TemporaryDirectory(prefix="gateway-simulated-")
        self.root = Path(self._directory.name)

    def write(self, path: str, text: str | None) -> None:
        """Make the file hold `text`, or None: make it vanish, as the files of an unplugged device do."""
        file = self.root / path
        if text is None:
            file.unlink(missing_ok=True)
            return
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{text}\n", encoding="utf-8")

    def remove(self) -> None:
        """Delete all of it. Once more than needed is fine."""
        self._directory.cleanup()


class OverTree(PolledDriver):
    """Puts a driver that reads files below `self.root` over a tree that follows a simulated world.

    Derive from this first and from the driver second: `class SimulatedThermal(OverTree, Thermal)`. The files are
    written just before each look of the driver at them, so nothing runs in between.
    """

    root: Path
    _tree: FileTree | None = None

    @abstractmethod
    def follow(self, tree: FileTree) -> None:
        """Write the files as they are now in the simulated world."""

    def open(self) -> None:
        self._tree = FileTree()
        self.root = self._tree.root
        try:
            self.follow(self._tree)
            super().open()
        except BaseException:
            self.close()
            raise

    def read(self) -> Sequence[Reading]:
        if self._tree is not None:
            self.follow(self._tree)
        return super().read()  # type: ignore[safe-super]  # the driver that stands second has it

    def close(self) -> None:
        try:
            super().close()
        finally:
            if self._tree is not None:
                self._tree.remove()
                self._tree = None
