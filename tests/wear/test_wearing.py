"""`buffer.wear` at work on a real log, with a sink that takes and acknowledges everything: virtual time, real disk."""

import asyncio
import logging

from gateway.budget import written_bytes
from gateway.changes import options_changes
from gateway.config.model import BufferConfig
from gateway.eventlog import EventLog
from gateway.wearing import Wearing
from gateway.wearing import written_bytes as counted_bytes
from tests import virtual
from tests.clocks import ManualClock
from tests.spine.conftest import PlayedSink, Spine

LIMIT = 60_000_000
SENTENCE = "readings wait longer for their commit"


def buffer(tmp_path, wear=None):
    return BufferConfig(path=tmp_path / "events.db", wear=wear)


class Target:
    commit_within_s = 0.0


class Played:
    """A gateway's spine in virtual time, on a card that counts as the budget says."""

    def __init__(self, tmp_path, limit):
        self._folder, self._buffer = tmp_path, buffer(tmp_path, limit)

    async def __aenter__(self):
        clock = virtual.LoopClock()
        self.log = await EventLog.open(self._folder / "events.db", clock)
        self.spine = Spine(self.log, clock, PlayedSink(), commit_within_s=1.0)
        self.loop = asyncio.get_running_loop()
        self.commits = []
        self.spine.recorder.watch(lambda batch: self.commits.append((self.loop.time(), len(batch))))
        self._transactions, transaction = 0, self.log._head.store.transaction

        async def counted(statements):
            self._transactions += 1
            return await transaction(statements)

        self.log._head.store.transaction = counted
        self.wearing = Wearing(self.spine.recorder, clock, self._buffer, self.written)
        self._task = asyncio.create_task(self.wearing.run())
        return self

    async def __aexit__(self, *_):
        self.wearing.stop()
        await self._task
        await self.spine.stop()

    def written(self):
        return round(written_bytes(self._transactions, self.log.next_offset))

    async def feed(self, seconds):
        """A reading each second."""
        for n in range(seconds):
            self.spine.offer(float(n))
            await asyncio.sleep(1)


def test_readings_share_fewer_commits_until_the_limit_is_kept_and_a_press_still_goes_at_once(
    tmp_path, monkeypatch, caplog
):
    caplog.set_level(logging.INFO)

    async def main():
        async with Played(tmp_path, "60MB/day") as it:
            await it.feed(1800)
            before, began = it.written(), it.loop.time()
            await it.feed(1800)
            per_day = (it.written() - before) / (it.loop.time() - began) * 86400
            assert per_day < 1.1 * LIMIT, "cursors do not commit what readings wait for"
            assert it.wearing.state.mode == "spread"
            assert it.spine.recorder.commit_within_s > 5
            await it.feed(3)
            commits, pressed = len(it.commits), it.loop.time()
            it.spine.offer(1.0, urgent=True)
            await asyncio.sleep(0.05)
            assert len(it.commits) == commits + 1
            assert it.commits[-1][0] - pressed < 0.05
            gaps = [later - earlier for (earlier, _), (later, _) in zip(it.commits, it.commits[1:], strict=False)]
            assert max(gaps) <= 60.5, "never over a minute"
        assert caplog.text.count(SENTENCE) == 1
        assert it.spine.sink.offsets == list(range(1, 3605)), "everything arrived, once"

    virtual.run(main, monkeypatch)


def test_a_reload_takes_the_limit_away_at_once(tmp_path, monkeypatch):
    async def main():
        async with Played(tmp_path, "10MB/day") as it:
            await it.feed(1200)
            assert it.spine.recorder.commit_within_s > 30
            it.wearing.retune(buffer(tmp_path))
            assert it.spine.recorder.commit_within_s == 1.0

    virtual.run(main, monkeypatch)


def test_a_reload_says_what_changed_as_the_yaml_writes_it(tmp_path):
    assert options_changes(buffer(tmp_path), buffer(tmp_path, "200MB/day")) == ("wear nothing -> 200MB/day",)


async def test_a_kernel_that_does_not_count_is_said_once_and_readings_wait_as_configured(tmp_path, caplog):
    target = Target()
    wearing = Wearing(target, ManualClock(), buffer(tmp_path, "60MB/day"), lambda: None)
    wearing.look()
    wearing.look()
    assert target.commit_within_s == 1.0
    assert caplog.text.count("buffer.wear has no effect") == 1


async def test_each_mode_is_said_in_one_sentence(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    clock, target, written = ManualClock(), Target(), [0]
    wearing = Wearing(target, clock, buffer(tmp_path, "60MB/day"), lambda: written[0])
    for spent in (1_500_000, 2_000_000, 0, 0, 0):
        clock.pass_s(900)
        written[0] += spent
        wearing.look()
    said = [record.getMessage() for record in caplog.records]
    assert [line.split(" ")[0] for line in said] == ["readings", "more", "readings", "readings"], said
    assert any("up to 60 s, to stay below 60MB/day" in line for line in said)
    assert any("more than 60MB/day is written although" in line for line in said)
    assert any("wait 1 s for their commit again" in line for line in said)


def test_the_kernel_counts_this_process():
    found = counted_bytes()
    assert found is None or found >= 0
