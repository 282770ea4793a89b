"""The export of a model, from the trainer's checkpoint to the artifact that is served; never imports torch."""
