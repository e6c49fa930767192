"""The page about actions says what the models say."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.action import (
    ActionConfig,
    LogConfig,
    NotifyConfig,
    PublishConfig,
    WebhookConfig,
    problems,
)
from gateway.action.names import _ALWAYS, _OWN
from gateway.actions import actions
from gateway.options import duration_text
from tests.actions.conftest import OUTPUTS

PAGE = (Path(actions.__file__).parent / "README.md").read_text(encoding="utf-8")
MODELS: dict[str, Any] = {
    "publish": PublishConfig, "webhook": WebhookConfig, "notify": NotifyConfig, "log": LogConfig,
    "output": ActionConfig,
}  # fmt: skip


def rows(heading: str) -> dict[str, str]:
    section = re.search(rf"^## {heading}\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE)
    assert section, heading
    return dict(re.findall(r"^\| `(\w+)` \|.*\| ?(.*?) ?\|$", section[1], re.MULTILINE))


@pytest.mark.parametrize("kind", MODELS)
def test_every_key_and_default_is_told(kind: str) -> None:
    told = rows(kind)
    fields = MODELS[kind].model_fields
    if kind == "output":
        fields = {name: info for name, info in fields.items() if name not in {"publish", "webhook", "notify", "log"}}
    assert list(told) == [info.alias or name for name, info in fields.items()]
    for name, info in fields.items():
        said = told[info.alias or name]
        if isinstance(info.default, float) and name.endswith("_s"):
            assert said == f"`{duration_text(info.default)}`"
        elif isinstance(info.default, bool):
            assert said == f"`{str(info.default).lower()}`"
        elif isinstance(info.default, str):
            assert said == f"`{info.default}`"
        else:
            assert "`" not in said


def test_every_name_is_told() -> None:
    table = re.search(r"^## Names\n(.*?)(?=^## )", PAGE, re.DOTALL | re.MULTILINE)
    assert table
    listed = {
        name for row in re.findall(r"^\| (`.*?`) \|", table[1], re.MULTILINE) for name in re.findall(r"`(\w+)`", row)
    }
    known = {*_ALWAYS, "gateway", "base", *(name for names in _OWN.values() for name in names)}
    assert listed == known


def test_the_example_is_right_as_it_stands() -> None:
    (example,) = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    loaded = yaml.load(example, yaml.BaseLoader)
    for phase, written in loaded.items():
        for one in written:
            fixed = {key: value == "true" if key == "ensure" else value for key, value in one.items()}
            if "publish" in fixed:
                fixed["publish"]["retain"] = True
            found = problems(
                ActionConfig.model_validate(fixed), phase, operator="hold", further=(), outputs=OUTPUTS,
                publishers=["home"], notifier=True,
            )  # fmt: skip
            assert list(found) == []
