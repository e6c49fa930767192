"""Where the time of a running gateway goes, by parts of the story.

`ITIMER_PROF` ticks with the CPU time of the whole process; at each tick the main thread's stack is looked at. The
innermost frame that belongs to the gateway names the part. While the event loop waits, the CPU is burnt by other
threads; how much, the kernel knows of each thread exactly.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from pathlib import Path
from types import FrameType

TICK_S = 0.002

PARTS = (
    ("gateway/acquire", "acquire"),
    ("gateway/supervise", "acquire"),
    ("gateway/normalize", "acquire"),
    ("gateway/units", "acquire"),
    ("gateway/eventlog", "log"),
    ("aiosqlite", "log"),
    ("gateway/record", "bookkeeping"),
    ("gateway/deliver", "bookkeeping"),
    ("gateway/window", "bookkeeping"),
    ("gateway/event.py", "encode"),
    ("gateway/present", "retained state"),
    ("gateway/sinks/mqtt_topics", "retained state"),
    ("gateway/sinks/mqtt_session", "session"),
    ("gateway/sinks", "wire"),
)
"""Path of a file -> the part it plays; the first that fits."""

THREADS = {"MainThread": "the event loop", "load": "the bench's own driver"}


class Profile:
    """From `start` to `stop`, both on the main thread. Nothing else in the process may use SIGPROF."""

    def __init__(self) -> None:
        self._parts: Counter[str] = Counter()
        self._cpu_s: dict[int, float] = {}
        self._begun_s = 0.0

    def start(self) -> None:
        self._cpu_s, self._begun_s = _threads_cpu_s(), time.process_time()
        signal.signal(signal.SIGPROF, self._look)
        signal.setitimer(signal.ITIMER_PROF, TICK_S, TICK_S)

    def stop(self) -> dict[str, dict[str, float]]:
        """CPU seconds of each thread, and how the event loop's are divided (parts of 1)."""
        signal.setitimer(signal.ITIMER_PROF, 0.0)
        names = {thread.native_id: thread.name for thread in threading.enumerate()}
        cpu_s: Counter[str] = Counter()
        for ident, seconds in _threads_cpu_s().items():
            name = names.get(ident, "")
            kind = THREADS.get(name, "the devices' threads" if name.startswith("device ") else "SQLite's threads")
            cpu_s[kind] += seconds - self._cpu_s.get(ident, 0.0)
        ended = time.process_time() - self._begun_s - cpu_s.total()  # the driver's thread has said all it had to say
        cpu_s[THREADS["load"]] += max(0.0, ended)
        total = self._parts.total() or 1
        return {"threads": dict(cpu_s), "parts": {part: n / total for part, n in self._parts.most_common()}}

    def _look(self, number: int, frame: FrameType | None) -> None:
        del number
        if frame is None or frame.f_code.co_filename.endswith("selectors.py"):
            return
        self._parts[part_of(frame)] += 1


def part_of(frame: FrameType | None) -> str:
    while frame is not None:
        file = frame.f_code.co_filename
        for path, part in PARTS:
            if path in file:
                return part
        frame = frame.f_back
    return "event loop"


def _threads_cpu_s() -> dict[int, float]:
    tick = os.sysconf("SC_CLK_TCK")
    spent = {}
    for task in Path("/proc/self/task").iterdir():
        fields = (task / "stat").read_text().rpartition(")")[2].split()
        spent[int(task.name)] = (int(fields[11]) + int(fields[12])) / tick
    return spent
