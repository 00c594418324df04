"""Models of a comparison, jointly trained ones too: what `fit` and `compare` ask for by name."""

from __future__ import annotations

import time
from dataclasses import replace

from plait.fusion.early import EARLY
from plait.fusion.modality import MODALITIES
from plait.pipeline.prepare import Preparation
from plait.training.encoders.folder import key_of
from plait.training.heads.early import Trained
from plait.training.heads.fitter import FittedModel, Fitter


def fit_model(prepared: Preparation, fitter: Fitter, model: str) -> FittedModel:
    """Fit ``image``, ``text``, ``late`` or ``early``; the last with its encoders where ``config.joint`` says so."""
    joint = prepared.config.joint
    if model == "early" and (joint.image, joint.text) != ("frozen", "frozen"):
        return _fit_jointly(prepared, fitter)
    fitted = fitter.fit(model)
    return replace(fitted, encoders=prepared.scored(fitted.scores)) if fitted.scores else fitted


def _fit_jointly(prepared: Preparation, fitter: Fitter) -> FittedModel:
    from plait.training.encoders.joint import JointRows, tune_joint

    start = time.perf_counter()
    config, task, val_pairs = prepared.config, fitter.task, prepared.val_pairs
    folder = prepared.store.folder / "joint"
    folder.mkdir(parents=True, exist_ok=True)
    joint = tune_joint(
        prepared.make_encoders().opened(),
        fitter.new_early(),
        JointRows(prepared.train_pairs, task.train, task.targets),
        JointRows(val_pairs, task.val, task.val_targets),
        config,
        device=prepared.device,
        checkpoint=folder / f"{_key(prepared)}.ckpt",
    )
    # What calibrates, and what answers for one modality alone, must come from the encoders as they are now.
    tuned = frozenset(s for s in MODALITIES if getattr(config.joint, s) != "frozen")
    train, val = (prepared.inputs_of(pairs, joint.encoders) for pairs in (prepared.train_pairs, val_pairs))
    own = {modality: some for modality, some in task.own.items() if modality not in tuned}
    now = replace(task, train=train, val=val, seen=task.seen | tuned, own=own)
    note = f"{EARLY[config.head.early].note}, tuned jointly: image {config.joint.image}, text {config.joint.text}"
    fitter = Fitter(now, config, prepared.device)
    finished = fitter.finish_early(Trained(joint.head, joint.curve, time.perf_counter() - start), note)
    return replace(finished, encoders=joint.encoders.with_scores(finished.scores))


def _key(prepared: Preparation) -> str:
    """What names a joint training: settings that matter, encoders, and every row's content and label."""
    config, encoders = prepared.config, prepared.make_encoders()
    prints = [encoder.fingerprint for encoder in (encoders.image, *encoders.text) if encoder is not None]
    settings = [config.joint.model_dump(), config.head.model_dump(), config.image.train.model_dump(), config.seed]
    return key_of([settings, prints, prepared.tuner.key("image"), prepared.tuner.key("text")], [])
