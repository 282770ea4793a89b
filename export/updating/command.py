"""`astec-update`: the command that makes an artifact with other labels from an artifact."""

from __future__ import annotations

from pathlib import Path
from time import perf_counter
from typing import Annotated

import typer

from astec.export.artifact.verification import ArtifactError
from astec.export.console import console
from astec.export.packing.label_file import read_labels
from astec.export.updating.update import UpdateReport, update_artifact

EXIT_BAD_INPUT = 2
_MANY_BESIDE = 10_000

app = typer.Typer(add_completion=False, rich_markup_mode="markdown")


@app.command()
def update(
    artifact: Annotated[Path, typer.Argument(help="An artifact of astec-export or astec-update.", show_default=False)],
    new: Annotated[Path, typer.Argument(help="Folder to publish; must not exist.", show_default=False)],
    add_labels: Annotated[
        Path | None,
        typer.Option(
            help="File of labels to add, one text each. The model knows them by their texts alone, as with "
            "`astec-export --add-labels`. Labels that were removed before come back with their trained weights.",
            exists=True,
            dir_okay=False,
            show_default=False,
        ),
    ] = None,
    remove_labels: Annotated[
        Path | None,
        typer.Option(
            help="File of labels that no answer shall name any more, one text each.",
            exists=True,
            dir_okay=False,
            show_default=False,
        ),
    ] = None,
    label_metadata: Annotated[
        Path | None,
        typer.Option(
            help="Table of label metadata, as for `astec-export`. Labels with a row have the values of this row and no "
            "others; all other labels keep theirs.",
            exists=True,
            dir_okay=False,
            show_default=False,
        ),
    ] = None,
    version: Annotated[
        str | None, typer.Option(help="Version of the model. Default: a hash of the former version and the changes.")
    ] = None,
) -> None:
    """Publish NEW, which is ARTIFACT with other labels, in seconds: whole, or not at all. ARTIFACT is not changed.

    Files that do not change are hard links, and take no space where both lie on one file system.
    """
    begun_s = perf_counter()
    try:
        report = update_artifact(
            artifact,
            new,
            add=None if add_labels is None else read_labels(add_labels),
            remove=None if remove_labels is None else read_labels(remove_labels),
            label_metadata=label_metadata,
            version=version,
        )
    except (ArtifactError, ValueError, FileExistsError) as error:
        console.print(f"astec-update: {error}", style="red", markup=False, soft_wrap=True)
        raise typer.Exit(EXIT_BAD_INPUT) from None
    except OSError as error:
        message = f"astec-update: {new} cannot be written: {error}. Nothing was published"
        console.print(message, style="red", markup=False, soft_wrap=True)
        raise typer.Exit(EXIT_BAD_INPUT) from None
    _tell(report)
    console.print(
        f"published {new} in {perf_counter() - begun_s:.1f} s; serve it: astec-serve {new}",
        markup=False,
        soft_wrap=True,
    )


def _tell(report: UpdateReport) -> None:
    console.print(
        f"added {report.added:,} labels, which are known by their texts alone; {report.restored:,} came back that were "
        f"removed before; removed {report.removed:,}",
        soft_wrap=True,
    )
    if report.unknown:
        _warn(
            f"of {len(report.unknown):,} labels no token is known, so that no query could find them: left out, "
            f"{report.unknown[0]!r} first"
        )
    console.print(
        f"wrote {report.written_bytes / 1e6:.1f} MB, linked {report.linked_bytes / 1e6:.1f} MB", soft_wrap=True
    )
    if report.searched_beside > _MANY_BESIDE:
        _warn(
            f"{report.searched_beside:,} added labels are searched one by one beside the graph, which every query pays "
            "for; a full export with --add-labels puts them into it"
        )


def _warn(message: str) -> None:
    console.print(message, style="yellow", markup=False, soft_wrap=True)


def main() -> None:
    """Run the command line."""
    app()


if __name__ == "__main__":
    main()
