"""The plot of reliability: probabilities against the share of labels that are right."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from astec.export.calibration.fit import CalibrationFit


def draw_reliability(fit: CalibrationFit, path: Path) -> None:
    """Write a PNG of the share of right labels by score and by probability, cross-validated over the texts.

    Raises:
        OSError: the file cannot be written.
    """
    figure = Figure(figsize=(6, 6), layout="constrained")
    panel = figure.subplots()
    panel.plot([0, 1], [0, 1], linestyle=":", color="grey", label="as often as said")
    for name, reliability in (("score", fit.scores), ("probability", fit.probabilities)):
        panel.plot(
            [part.probability for part in reliability.bins],
            [part.frequency for part in reliability.bins],
            marker="o",
            label=f"{name}: error {100 * reliability.expected_error:.2f} percent",
        )
    panel.plot(
        fit.calibration.scores, fit.calibration.probabilities, color="grey", linewidth=1, label="probability of a score"
    )
    panel.set(xlabel="score, or probability", ylabel="labels that are right", xlim=(0, 1), ylim=(0, 1))
    panel.legend(loc="upper left", fontsize=8)
    figure.suptitle("How likely a label is right: held-out texts")
    figure.savefig(path, format="png", dpi=120)
