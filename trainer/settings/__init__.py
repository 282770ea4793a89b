"""Every setting of a training run: defaults, validation, TOML and command-line overrides."""
