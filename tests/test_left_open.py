"""A test that fails with a log open fails, and pytest ends."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]

FAILING = """
from gateway.eventlog import EventLog
from gateway.clock import SystemClock

async def test_leaves_it_open(tmp_path):
    log = await EventLog.open(tmp_path / "events.db", SystemClock())
    assert not log
"""


def test_pytest_ends_although_a_failed_test_left_a_log_open(tmp_path):
    (tmp_path / "test_left.py").write_text(FAILING)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "tests.conftest", "-c", str(ROOT / "pyproject.toml")]
    done = subprocess.run(
        [*command, "--rootdir", str(tmp_path), str(tmp_path / "test_left.py")],
        cwd=ROOT, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert "1 failed" in done.stdout, done.stdout + done.stderr
