"""`gateway reload`: what changed, or what is wrong, exactly as `gateway check` says it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from gateway.cli.check import check
from gateway.cli.reload import reload
from gateway.config import load_config
from gateway.errors import ConfigError, NotRunning
from gateway.plugins import Plugins
from gateway.reload import refusal
from tests.cli.canned import Serve, call

DONE: dict[str, Any] = {
    "ok": True,
    "config": "/etc/gateway/gateway.yaml",
    "hash": "a1b2c3d4e5f60718",
    "gateway": ["labels.site north -> south"],
    "buffer": [],
    "http": [],
    "devices": {
        "added": ["x"],
        "removed": ["old"],
        "changed": {"z": ["pin 17 -> 27", "bounce 20ms -> 1s"]},
        "untouched": ["a", "b", "c"],
    },
    "sinks": {"added": [], "removed": ["y"], "changed": {"home": ["password is another secret"]}, "untouched": ["d"]},
    "rules": {"added": [], "removed": [], "changed": {"hot": ["when.hold.above 30 -> 31"]}, "untouched": ["e"]},
    "notify": [],
    "warnings": ["/etc/gateway/gateway.yaml:9:5 sinks[0].url: not encrypted"],
}

PAGE = """\
~ gateway (labels.site north -> south)
- device old
+ device x
~ device z (pin 17 -> 27, bounce 20ms -> 1s)
- sink y
~ sink home (password is another secret)
~ rule hot (when.hold.above 30 -> 31)
= 5 untouched
warning: /etc/gateway/gateway.yaml:9:5 sinks[0].url: not encrypted
"""


def test_what_changed_is_one_line_each(serve: Serve) -> None:
    serve("pi", {"reload": call(DONE)})
    done = CliRunner().invoke(reload)
    assert (done.exit_code, done.output) == (0, PAGE)


def test_nothing_changed_is_said_in_one_line(serve: Serve) -> None:
    same = {"added": [], "removed": [], "changed": {}, "untouched": ["a"]}
    serve(
        "pi", {"reload": call({**DONE, "gateway": [], "devices": same, "sinks": same, "rules": same, "warnings": []})}
    )
    assert CliRunner().invoke(reload).output == "= 3 untouched\n"


def test_json_is_the_whole_document(serve: Serve) -> None:
    serve("pi", {"reload": call(DONE)})
    done = CliRunner().invoke(reload, ["--json"])
    assert (done.exit_code, json.loads(done.output)) == (0, DONE)


WRONG = """\
gateway: {id: pi}
devices:
  - {id: door, driver: button, pin: 99}
  - {id: gate, driver: buton}
"""


@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_problems_look_as_in_check(serve: Serve, tmp_path: Path, flags: list[str]) -> None:
    file = tmp_path / "gateway.yaml"
    file.write_text(WRONG)
    with pytest.raises(ConfigError) as caught:
        load_config(file, Plugins())
    serve("pi", {"reload": call(refusal(caught.value))})
    done, checked = CliRunner().invoke(reload, flags), CliRunner().invoke(check, [str(file), *flags])
    assert done.exit_code == checked.exit_code == 2
    if flags:
        assert json.loads(done.output)["problems"] == json.loads(checked.output)["problems"]
    else:
        assert done.output == checked.output
        assert "2 problems" in done.output


def test_without_a_gateway_it_says_so(home: Path) -> None:
    done = CliRunner().invoke(reload)
    assert isinstance(done.exception, NotRunning)
