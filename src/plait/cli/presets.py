"""``plait presets`` and ``plait config``: what can be set, and what is."""

from __future__ import annotations

from plait.cli.options import ConfigFile, Preset, Set, settings_of


def presets() -> None:
    """List the named configurations: their sources, published accuracies on UPMC Food-101, and what differs."""
    from plait.config import presets as known

    for name, preset in known().items():
        print(f"{name:<20} {preset.line}")
        for word, fact in preset.facts:
            print(f"{'':<20} {word}: {fact}")


def show_config(preset: Preset = None, config: ConfigFile = None, set_: Set = None) -> None:
    """Print the configuration a command would use, every key with its value."""
    import yaml

    print(yaml.safe_dump(settings_of(preset, config, set_, strict=False).model_dump(), sort_keys=False), end="")
