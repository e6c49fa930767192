"""A demo acts on its simulated outputs, and on nothing outside."""

import re
import socket
import subprocess
import sys

import pytest

pytestmark = pytest.mark.mosquitto

YAML = """
gateway: {{id: rehearsal}}
devices:
  - id: tank
    driver: signal
    every: 100ms
    signals: {{level: {{quantity: load, square: {{low: 0, high: 5, period: 500ms}}}}}}
  - {{id: fan, driver: output, pin: 23}}
sinks:
  - {{id: home, sink: mqtt, url: "mqtt://127.0.0.1:{port}"}}
notify: {{url: "http://127.0.0.1:{port}/topic"}}
http: {{listen: "127.0.0.1:{port}"}}
buffer: {{commit_within: 50ms}}
rules:
  - id: high
    when: {{hold: {{channel: tank/level, above: 2}}}}
    do:
      - {{output: fan, set: on, ensure: true}}
      - {{webhook: "http://127.0.0.1:{port}/hook"}}
      - {{notify: "level {{value}}"}}
      - {{publish: {{topic: elsewhere/level, sink: home, text: "{{value}}"}}}}
      - {{log: "it is {{value}}"}}
    on_cleared: [{{output: fan, set: off, ensure: true}}]
"""


def test_what_would_go_outside_is_only_said_and_outputs_follow_their_rule(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as outside:
        outside.setblocking(False)
        port = outside.getsockname()[1]
        (tmp_path / "demo.yaml").write_text(YAML.format(port=port))
        command = [sys.executable, "-m", "gateway", "demo", "--config", "demo.yaml", "--for", "3s"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=40)
        with pytest.raises(BlockingIOError):
            outside.accept()

    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    for said in (
        f"would POST to http://127.0.0.1:{port}",
        "would notify: level 5",
        "would publish to elsewhere/level: 5",
        "it is 5",
    ):
        assert re.search(rf"rule/high +{re.escape(said)}$", done.stdout, re.MULTILINE), said
    for level in ("on", "off"):
        assert re.search(rf"fan/on +{level}  good  as rule/high says$", done.stdout, re.MULTILINE)
    assert re.search(r"^  lost +0$", done.stdout, re.MULTILINE)
    assert re.search(r"^  rules +1 in force, fired \d+ times: high \d+$", done.stdout, re.MULTILINE)
