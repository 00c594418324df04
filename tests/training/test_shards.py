"""A network shared out between two processes learns what one that each holds whole does."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import Any

import numpy as np
import pytest
import sharded
from sharded import KINDS, told, trained
from test_together import TORCHRUN, environment

from plait.training import loop
from toys import make_text_folder

pytestmark = pytest.mark.slow
SHARD = ("shard=false", "shard=true")


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What two processes find, gone on with a training of one, too; and what one finds, gone on with theirs."""
    folder = tmp_path_factory.mktemp("sharded")
    make_text_folder(folder / "text")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "_Checkpoint", sharded.CopiesCheckpoints)
        trained(folder, checkpoint=folder / "all.ckpt")
    for kind in SHARD:
        shutil.copy(folder / "all-2.ckpt", folder / f"{kind}-from-one.ckpt")
    command = [*TORCHRUN, sharded.__file__, str(folder)]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr[-4000:]
    results: dict[str, Any] = json.loads((folder / "sharded.json").read_text())
    for kind in SHARD:
        results[kind]["back"] = told(trained(folder, checkpoint=folder / f"{kind}-2.ckpt"))
    return results


def same(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert [sorted(epoch) for epoch in one["curve"]] == [sorted(epoch) for epoch in other["curve"]]
    for a, b in zip(one["curve"], other["curve"], strict=True):
        assert a == pytest.approx(b, abs=1e-3)
    np.testing.assert_allclose(one["vectors"], other["vectors"], atol=1e-3)


@pytest.mark.parametrize("kind", [*KINDS, "pairs", "kept", "gone on", "back"])
def test_shared_out_or_whole(found: dict[str, Any], kind: str) -> None:
    """Also where two go on with the training of one process, and one with that of two."""
    same(*(found[shard][kind] for shard in SHARD))


def test_a_training_goes_on_from_where_it_was(found: dict[str, Any]) -> None:
    whole, shared = (found[kind] for kind in SHARD)
    assert shared["back"]["curve"][:2] == shared["kept"]["curve"][:2]
    assert shared["gone on"]["curve"][:2] == whole["gone on"]["curve"][:2]
