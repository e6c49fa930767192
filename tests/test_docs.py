"""What the pages say is true: links lead somewhere, commands exist, and their YAML is right."""

import re
import shlex
from pathlib import Path

import click
import pytest

from gateway.cli import COMMANDS, commands
from gateway.config import parse_config
from gateway.plugins import Plugins

ROOT = Path(__file__).parents[1]
PAGES = [page for page in sorted(ROOT.rglob("*.md")) if not {".venv", "build", "dist"} & set(page.parts)]
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]


def fences(page, language):
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def test_there_are_pages():
    assert {"README.md", "gateway/README.md", "drivers/README.md", "gateway/sinks/README.md"} <= set(NAMES)


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_link_inside_the_project_leads_somewhere(page):
    prose = re.sub(
        r"^```.*?^```|`[^`\n]*\]\([^`\n]*`", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL
    )
    targets = re.findall(r"\]\((?!https?:|mailto:)([^)#]+)", prose)
    assert [t for t in targets if not (page.parent / t).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_command_and_option_that_is_shown_exists(page):
    shown = [line for block in fences(page, "sh") for line in block.splitlines()]
    shown += re.findall(r"`(gateway [^`\n]+)`", page.read_text(encoding="utf-8"))
    for line in shown:
        words = shlex.split(line, comments=True)
        if not words or Path(words[0]).name != "gateway" or len(words) < 2:
            continue
        assert words[1] in {*COMMANDS, "--help", "--version"}, line
        if words[1] in COMMANDS:
            meant = command(words[1])
            if isinstance(meant, click.Group) and len(words) > 2 and not words[2].startswith("-"):
                meant = meant.get_command(click.Context(meant), words[2])
                assert meant is not None, line
            known = {name for p in meant.params for name in p.opts} | {"--help"}
            given = {word.split("=")[0] for word in words[2:] if word.startswith("--")}
            assert given <= known, line


def command(name):
    found = commands.get_command(click.Context(commands), name)
    assert found is not None
    return found


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself_in_one_line(name):
    assert command(name).help, name
    assert len(command(name).get_short_help_str(90)) > 20


@pytest.mark.parametrize("yaml", fences(ROOT / "README.md", "yaml"))
def test_the_yaml_of_the_first_page_is_right_as_it_stands(yaml):
    config = parse_config(yaml, "gateway.yaml", Plugins())
    assert config.devices
    assert config.sinks


def test_make_and_the_first_page_name_the_same_targets():
    targets = set(re.findall(r"^([a-z]+):.*## ", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    named = set(re.findall(r"(?:`|^)make ([a-z]+)", text, re.MULTILINE))
    assert {"demo", "test"} <= named <= targets
