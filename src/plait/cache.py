"""Where plait keeps what it can make again: features, tuned encoders, converted weights."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """``$PLAIT_CACHE`` if set, else the user's cache folder."""
    import platformdirs

    return Path(os.environ.get("PLAIT_CACHE") or platformdirs.user_cache_dir("plait"))
