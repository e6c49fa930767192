import click


@click.command("explain")
def explain() -> None: ...
