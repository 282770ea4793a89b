"""astec-export: from a run folder to a servable artifact."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, NoReturn

import typer

from export.artifact.store import ArtifactError
from export.checkpoint import CheckpointError, read_checkpoint
from export.pack import pack
from export.readers.progress import console
from export.verify import VerificationError

EXIT_BAD_INPUT = 2

app = typer.Typer(add_completion=False, rich_markup_mode="markdown")


@app.command()
def export(
    run: Annotated[Path, typer.Argument(help="A finished run of astec-train.", show_default=False)],
    artifact: Annotated[Path, typer.Argument(help="Folder to publish; must not exist.", show_default=False)],
    name: Annotated[
        str | None, typer.Option(help="Name of the model in every response. Default: the artifact folder's name.")
    ] = None,
    version: Annotated[
        str | None, typer.Option(help="Version of the model. Default: a hash of its content, equal for equal models.")
    ] = None,
) -> None:
    """Pack RUN into ARTIFACT, verify it against the run, and publish it: whole, or not at all."""
    try:
        with console.status("packing and verifying"):
            report = pack(read_checkpoint(run), artifact, name or artifact.resolve().name, version)
    except (CheckpointError, VerificationError, ArtifactError, ValueError, FileExistsError) as error:
        _fail(str(error))
    except OSError as error:
        _fail(f"{artifact} cannot be written: {error}. Nothing was published")
    console.print(
        f"verified on {report.texts} texts: ONNX within {report.encoder_error:.1e} of torch, logits within "
        f"{report.logit_error:.1e}; recall@10 of the graphs {report.centroid_recall:.3f} (labels) and "
        f"{report.point_recall:.3f} (training points)",
        soft_wrap=True,
    )
    console.print(f"published {artifact}; serve it: astec-serve {artifact}", soft_wrap=True)


def _fail(message: str) -> NoReturn:
    console.print(f"astec-export: {message}", style="red", markup=False, soft_wrap=True)
    raise typer.Exit(EXIT_BAD_INPUT)


def main() -> None:
    """Run the command line."""
    app()


if __name__ == "__main__":
    main()
