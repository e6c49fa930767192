"""The log says once when a thing goes away, and once when it is back."""

import logging

from tests.spine.conftest import until


async def test_a_sink_that_is_away_for_many_attempts_is_said_once_and_its_return_once(spine, sink, monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    monkeypatch.setattr("gateway.deliver.BACKOFF_FIRST_S", 0.002)
    monkeypatch.setattr("gateway.deliver.BACKOFF_MAX_S", 0.002)
    attempts, connect = [], sink.connect

    async def counted(report):
        attempts.append(report)
        return await connect(report)

    sink.connect = counted
    spine.offer(1, urgent=True)
    await until(lambda: sink.offsets == [1])
    caplog.clear()
    for _ in range(2):
        sink.down, before = "connection refused", len(attempts)
        sink.cut("connection lost")
        await until(lambda before=before: len(attempts) > before + 5)
        sink.down, delivered = None, len(sink.offsets)
        spine.offer(2, urgent=True)
        await until(lambda delivered=delivered: len(sink.offsets) > delivered)
    said = [record.getMessage() for record in caplog.records if record.name == "gateway.deliver"]
    assert said == [
        "sink home: connection lost",
        "sink home delivers again",
        "sink home: connection lost",
        "sink home delivers again",
    ]
