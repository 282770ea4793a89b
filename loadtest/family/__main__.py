"""`make family`: the command line."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from astec.export.console import console
from astec.export.readers import DataError
from astec.loadtest.bench.serving import ServeError
from astec.loadtest.family.measure import Effort, FamilyError, Figures, row_of
from astec.loadtest.family.members import Member, members
from astec.loadtest.family.page import draw, to_markdown
from astec.loadtest.family.provisions import NoTextsError

RESULTS = Path(__file__).parents[1] / "results"
EXIT_BAD_INPUT = 2
EXIT_INTERRUPTED = 130

app = typer.Typer(add_completion=False)


@app.command()
def family(
    data: Annotated[Path, typer.Argument(help="Folder with training and test texts.", show_default=False)],
    folder: Annotated[
        Path, typer.Option(help="Where runs, artifacts and figures are kept; what has figures there is not run again.")
    ] = Path("runs/family"),
    only: Annotated[str, typer.Option(help="Rows to measure, by name. Default: all.", show_default=False)] = "",
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="A setting of astec-train for every row, as section.key=value.")
    ] = None,
    transformer: Annotated[
        Path | None,
        typer.Option(help="Folder of a Hugging Face encoder. Default: a small one at random.", show_default=False),
    ] = None,
    queries: Annotated[int, typer.Option(min=1, help="Asked one at a time; more, less noise.")] = Effort().queries,
    seconds: Annotated[
        float, typer.Option(min=0.1, help="Of load over one connection; more, less noise.")
    ] = Effort().seconds,
    output: Annotated[Path, typer.Option(help="Folder for the dated page and its picture.")] = RESULTS,
) -> None:
    """Train, export and serve every recipe, encoder and framework on DATA, and write a dated page that compares them.

    Exit codes: 0 done, also where a row could not be had (the page says so); 2 wrong usage; 130 interrupted (what was
    measured is kept, and goes on from there the next time).
    """
    chosen = _choose(only)
    extra = [part for setting in settings or [] for part in ("--set", setting)]
    rows, problems = dict[Member, Figures](), dict[Member, str]()
    for number, member in enumerate(chosen, start=1):
        console.print(f"{number} of {len(chosen)}: {member.key}", markup=False)
        try:
            rows[member] = row_of(member, data, folder / member.key, Effort(queries, seconds), extra, transformer)
        except (FamilyError, ServeError, DataError, NoTextsError, OSError) as error:
            problems[member] = str(error)
            console.print(f"{member.key}: {error}", style="red", markup=False, soft_wrap=True)
        except KeyboardInterrupt:
            raise typer.Exit(EXIT_INTERRUPTED) from None
    if not rows:
        _fail("no row could be measured")
    stamp = datetime.now(UTC).strftime("%Y-%m-%d-%H%M")
    output.mkdir(parents=True, exist_ok=True)
    page = output / f"{stamp}-family.md"
    draw(rows, page.with_suffix(".png"))
    said = f"- settings: {queries} queries, {seconds:g} s of load" + "".join(f", {each}" for each in settings or [])
    text = to_markdown(stamp, data.name, said, rows, problems, page.with_suffix(".png").name)
    page.write_text(text)
    typer.echo(text, nl=False)
    console.print(f"wrote {page}", markup=False, soft_wrap=True)


def _choose(commas: str) -> list[Member]:
    names = [name.strip() for name in commas.split(",") if name.strip()]
    known = {member.key: member for member in members()}
    if unknown := [name for name in names if name not in known]:
        _fail(f"--only: there is no {', '.join(unknown)}; there are {', '.join(known)}")
    return [known[name] for name in names] or list(known.values())


def _fail(message: str) -> NoReturn:
    typer.echo(f"family: {message}", err=True)
    raise typer.Exit(EXIT_BAD_INPUT)


def main() -> None:
    """Run the command line."""
    app()


if __name__ == "__main__":
    main()
