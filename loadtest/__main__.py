"""`astec-loadtest`: the command line."""

from __future__ import annotations

import typer
from typer.core import TyperGroup

from astec.loadtest.command import run
from astec.loadtest.synthetic.command import synth_artifact


class _RunByDefault(TyperGroup):
    """Takes `astec-loadtest URL ...` for `astec-loadtest run URL ...`."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override] # typer's is click's
        if args and args[0] not in self.commands and args[0] not in ctx.help_option_names:
            args = ["run", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=_RunByDefault,
    help="Load a running server (`run`, which may be left out), or make a model of any size to load.",
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(run)
app.command()(synth_artifact)


def main() -> None:
    """Run the command."""
    app(prog_name="astec-loadtest")


if __name__ == "__main__":
    main()
