"""The on-disk formats of Astec, from the trainer's checkpoint to the servable artifact; never imports torch."""
