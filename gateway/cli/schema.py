"""`gateway schema`: what an editor needs to complete and check the YAML while it is written."""

from __future__ import annotations

import sys

import click

USE = """\
Save it beside your configuration and name it on the first line there:

    gateway schema > gateway.schema.json
    # yaml-language-server: $schema=gateway.schema.json

Editors ask to be told our two tags. VS Code, in settings.json:

    "yaml.customTags": ["!secret scalar", "!include scalar"]
"""


@click.command(short_help="Print a JSON Schema, for completion in editors.")
def schema() -> None:
    """Print the JSON Schema of the configuration, for editors.

    It knows the drivers and sinks that are installed: print it anew after installing one.
    """
    import json

    from gateway.config.schema import build_schema
    from gateway.plugins import Plugins

    built, missing = build_schema(Plugins())
    click.echo(json.dumps(built, indent=2))
    for sentence in missing:
        click.secho(f"left out: {sentence}", fg="yellow", err=True)
    if sys.stdout.isatty():
        click.secho(USE, dim=True, err=True)
