"""`make family`: the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from astec.export.console import console
from astec.export.readers import DataError
from astec.loadtest.bench.serving import ServeError
from astec.loadtest.command_line import EXIT_INTERRUPTED, fail, split_names
from astec.loadtest.family.comparison_page import draw, to_markdown
from astec.loadtest.family.member_figures import Effort, FamilyError, MemberFigures, measure_member
from astec.loadtest.family.members import Member, members
from astec.loadtest.family.provisions import NoTextsError
from astec.loadtest.report.dated_page import RESULTS, DatedPage

_COMMAND = "family"

app = typer.Typer(add_completion=False)


@app.command()
def family(
    data: Annotated[Path, typer.Argument(help="Folder with training and test texts.", show_default=False)],
    folder: Annotated[
        Path,
        typer.Option(help="Folder for runs, artifacts and figures; rows with figures there are not measured again."),
    ] = Path("runs/family"),
    only: Annotated[str, typer.Option(help="Names of the rows to measure. Default: all.", show_default=False)] = "",
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="A setting of astec-train for every row, as section.key=value.")
    ] = None,
    transformer: Annotated[
        Path | None,
        typer.Option(
            help="Folder of a Hugging Face encoder. Default: a small one with random weights.", show_default=False
        ),
    ] = None,
    queries: Annotated[
        int, typer.Option(min=1, help="Queries to ask one at a time. More: less noise.")
    ] = Effort().queries,
    seconds: Annotated[
        float, typer.Option(min=0.1, help="Seconds of load over one connection. More: less noise.")
    ] = Effort().seconds,
    output: Annotated[Path, typer.Option(help="Folder for the dated page and its picture.")] = RESULTS,
) -> None:
    """Train, export and serve every recipe, encoder and framework on DATA, and write a dated page that compares them.

    Exit codes: 0 done, even if a row could not be measured (the page says so); 2 wrong usage; 130 interrupted (the rows
    measured so far are kept, and the next run continues from there).
    """
    chosen = _choose(only)
    extra = [part for setting in settings or [] for part in ("--set", setting)]
    rows, problems = dict[Member, MemberFigures](), dict[Member, str]()
    for number, member in enumerate(chosen, start=1):
        console.print(f"{number} of {len(chosen)}: {member.key}", markup=False)
        try:
            effort = Effort(queries, seconds)
            rows[member] = measure_member(member, data, folder / member.key, effort, extra, transformer)
        except (FamilyError, ServeError, DataError, NoTextsError, OSError) as error:
            problems[member] = str(error)
            console.print(f"{member.key}: {error}", style="red", markup=False, soft_wrap=True)
        except KeyboardInterrupt:
            raise typer.Exit(EXIT_INTERRUPTED) from None
    if not rows:
        fail(_COMMAND, "no row could be measured")
    page = DatedPage.create(output, "family")
    draw(rows, page.picture())
    said = f"{queries} queries, {seconds:g} s of load" + "".join(f", {each}" for each in settings or [])
    text = to_markdown(page.stamp, data.name, said, rows, problems, page.picture().name)
    page.write(text)
    typer.echo(text, nl=False)
    console.print(f"wrote {page.path}", markup=False, soft_wrap=True)


def _choose(commas: str) -> list[Member]:
    names = split_names(commas)
    known = {member.key: member for member in members()}
    if unknown := [name for name in names if name not in known]:
        fail(_COMMAND, f"--only: there is no {', '.join(unknown)}; there are {', '.join(known)}")
    return [known[name] for name in names] or list(known.values())


def main() -> None:
    """Run the command line."""
    app()


if __name__ == "__main__":
    main()
