"""Directories that look like the kernel's, made by tests."""

from __future__ import annotations

from pathlib import Path


def put(root: Path, files: dict[str, str]) -> Path:
    """Files below `root`, each with one line."""
    for name, text in files.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{text}\n", encoding="utf-8")
    return root


def put_linked(root: Path, link: str, device: str, files: dict[str, str]) -> Path:
    """The same in a directory of `devices/`, to which `link` leads, as entries of `/sys` do."""
    directory = root / "sys/devices" / device
    put(directory, files)
    place = root / link
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(directory)
    return root


def break_down(file: Path) -> None:
    """Reading the file fails with EIO from now on, as that of a chip whose wire came off: real, from the kernel."""
    file.unlink(missing_ok=True)
    file.symlink_to("/proc/self/mem")
