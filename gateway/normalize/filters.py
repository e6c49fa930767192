"""What several readings have in common: spike rejection, sliding windows, averages.

A stage takes what was judged good or uncertain and gives one such fact back, or None for nothing yet. It is as doubtful
as the most doubtful reading in it. Nothing here survives an outage (`forget`) or a restart: until a stage has seen as
many readings as it wants, what it says is `uncertain/initial`.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from gateway.config.channel import FilterConfig, SpikeConfig
from gateway.normalize.judge import Judged

Pick = Callable[[Sequence[float]], float]
"""Rising numbers, at least one -> one that lies between the first and the last."""


class Stage(Protocol):
    """One step of a channel's chain."""

    def __call__(self, judged: Judged, mono_ns: int) -> Judged | None:
        """What is to be said after this reading, whose value is a float."""

    def forget(self) -> None:
        """An outage began: what was before it has nothing to do with what comes."""


class Window:
    """The last `size` numbers, also in rising order."""

    def __init__(self, size: int) -> None:
        self._latest: deque[float] = deque()
        self.size = size
        self.rising: list[float] = []

    def add(self, number: float) -> None:
        if len(self._latest) == self.size:
            del self.rising[bisect_left(self.rising, self._latest.popleft())]
        self._latest.append(number)
        insort(self.rising, number)

    def clear(self) -> None:
        self._latest.clear()
        self.rising.clear()

    @property
    def full(self) -> bool:
        return len(self._latest) == self.size


class Doubts:
    """The reasons for doubt among the last `size` readings."""

    def __init__(self, size: int) -> None:
        self._reasons: deque[str | None] = deque(maxlen=size)
        self._count = 0

    def add(self, judged: Judged) -> None:
        if len(self._reasons) == self._reasons.maxlen and self._reasons[0] is not None:
            self._count -= 1
        self._reasons.append(None if judged.quality == "good" else judged.reason)
        self._count += judged.quality != "good"

    def clear(self) -> None:
        self._reasons.clear()
        self._count = 0

    @property
    def latest(self) -> str | None:
        """The newest reason, None without doubt."""
        if not self._count:
            return None
        return next(reason for reason in reversed(self._reasons) if reason is not None)


class Sliding:
    """Each reading is replaced by what `pick` takes from the last few."""

    def __init__(self, size: int, pick: Pick) -> None:
        self._window, self._doubts, self._pick = Window(size), Doubts(size), pick

    def __call__(self, judged: Judged, mono_ns: int) -> Judged:
        del mono_ns
        self._window.add(_number(judged))
        self._doubts.add(judged)
        return _said(self._pick(self._window.rising), self._doubts.latest, initial=not self._window.full)

    def forget(self) -> None:
        self._window.clear()
        self._doubts.clear()


class SpikeGuard:
    """Holds a reading back that is further than `jump` from the median of the believed ones.

    After `confirm` such readings in a row the last is believed, and they are the new past. So at most `confirm` - 1
    readings in a row stay unsaid, however wild the sensor is. `unit` is the factor from the entry's unit to the
    canonical one.
    """

    def __init__(self, config: SpikeConfig, unit: float = 1.0) -> None:
        self._jump, self._confirm = config.jump * unit, config.confirm
        self._past = Window(config.of)
        self._suspects: list[float] = []
        self._filled = False

    def __call__(self, judged: Judged, mono_ns: int) -> Judged | None:
        del mono_ns
        number = _number(judged)
        if self._past.rising and abs(number - median(self._past.rising)) > self._jump:
            self._suspects.append(number)
            if len(self._suspects) < self._confirm:
                return None
            self._past.clear()
            for suspect in self._suspects:
                self._past.add(suspect)
        else:
            self._past.add(number)
        self._suspects.clear()
        self._filled = self._filled or self._past.full
        return _said(number, None if judged.quality == "good" else judged.reason, initial=not self._filled)

    def forget(self) -> None:
        self._past.clear()
        self._suspects.clear()
        self._filled = False


class Average:
    """One mean for each `length_ns`, said with the reading that ends it.

    That reading belongs to it, so it ends `slack_ns` early rather than a whole poll too late. Ends keep their distance:
    what comes late does not move the next one. A device that only speaks when something changes ends it by `due`.
    """

    def __init__(self, length_ns: int, slack_ns: int) -> None:
        self._length_ns, self._slack_ns = length_ns, slack_ns
        self._began_ns: int | None = None
        self._mean = RunningMean()
        self._doubt: str | None = None

    def __call__(self, judged: Judged, mono_ns: int) -> Judged | None:
        if self._began_ns is None or (self._mean.count == 0 and self._is_over(self._began_ns, mono_ns)):
            self._began_ns = mono_ns
        self._mean.add(_number(judged))
        if judged.quality != "good":
            self._doubt = judged.reason
        return self._end(self._began_ns, mono_ns) if self._is_over(self._began_ns, mono_ns) else None

    @property
    def due_ns(self) -> int | None:
        """When it ends without a further reading, None while there is nothing to say."""
        return None if self._began_ns is None or self._mean.count == 0 else self._began_ns + self._length_ns

    def due(self, mono_ns: int) -> Judged | None:
        due_ns = self.due_ns
        if due_ns is None or mono_ns < due_ns:
            return None
        return self._end(due_ns - self._length_ns, due_ns)

    def forget(self) -> None:
        self._began_ns = None
        self._mean, self._doubt = RunningMean(), None

    def _is_over(self, began_ns: int, mono_ns: int) -> bool:
        return mono_ns - began_ns >= self._length_ns - self._slack_ns

    def _end(self, began_ns: int, mono_ns: int) -> Judged:
        said = _said(self._mean.value, self._doubt, initial=False)
        next_ns = began_ns + self._length_ns
        self._began_ns = next_ns if mono_ns - next_ns < self._length_ns else mono_ns
        self._mean, self._doubt = RunningMean(), None
        return said


class RunningMean:
    """The mean of any number of numbers, in no more room than one takes."""

    def __init__(self) -> None:
        self.count = 0
        self._sum, self._lost = 0.0, 0.0
        self._low, self._high = math.inf, -math.inf

    def add(self, number: float) -> None:
        """Neumaier's sum: as good after a million numbers as after ten."""
        total = self._sum + number
        bigger, smaller = (self._sum, number) if abs(self._sum) >= abs(number) else (number, self._sum)
        self._lost += (bigger - total) + smaller
        self._sum = total
        self._low, self._high = min(self._low, number), max(self._high, number)
        self.count += 1

    @property
    def value(self) -> float:
        """Between the lowest and the highest number. There is at least one."""
        return min(max((self._sum + self._lost) / self.count, self._low), self._high)


def sliding(config: FilterConfig) -> Sliding:
    if config.median is not None:
        return Sliding(config.median, median)
    if config.mean is not None:
        return Sliding(config.mean, mean)
    part = config.quantile or 0.0
    return Sliding(config.of or 1, lambda rising: quantile(rising, part))


def median(rising: Sequence[float]) -> float:
    return quantile(rising, 0.5)


def mean(rising: Sequence[float]) -> float:
    """The sum is exact and rounded once; still a division can leave the last digit outside."""
    return min(max(math.fsum(rising) / len(rising), rising[0]), rising[-1])


def quantile(rising: Sequence[float], part: float) -> float:
    """With a straight line between neighbours: Hyndman and Fan's definition 7, as numpy and R have it by default."""
    position = part * (len(rising) - 1)
    below = int(position)
    low, high = rising[below], rising[min(below + 1, len(rising) - 1)]
    return min(low + (high - low) * (position - below), high)


def _number(judged: Judged) -> float:
    assert isinstance(judged.value, float), "only measured quantities are filtered"
    return judged.value


def _said(number: float, doubt: str | None, *, initial: bool) -> Judged:
    if doubt is not None:
        return Judged(number, "uncertain", doubt)
    return Judged(number, "uncertain", "initial") if initial else Judged(number, "good", "")
