"""`astec-loadtest`: the command line."""

from __future__ import annotations

import typer
from typer.core import TyperGroup

from astec.loadtest.run_command import run
from astec.loadtest.synthetic.artifact_bytes import artifact_bytes
from astec.loadtest.synthetic.artifact_command import synth_artifact


class _RunByDefault(TyperGroup):
    """The command group that reads `astec-loadtest URL ...` as `astec-loadtest run URL ...`."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override] # typer's is click's
        if args and args[0] not in self.commands and args[0] not in ctx.help_option_names:
            args = ["run", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=_RunByDefault,
    help="Put load on a running server (`run`, which may be left out), make an artifact of any size to serve, or say "
    "what one takes.",
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(run)
app.command()(synth_artifact)
app.command()(artifact_bytes)


def main() -> None:
    """Run the command."""
    app(prog_name="astec-loadtest")


if __name__ == "__main__":
    main()
