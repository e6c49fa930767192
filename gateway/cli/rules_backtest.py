import click


@click.command("backtest")
def backtest() -> None: ...
