"""A search in words: what was found, beside the reference."""

from __future__ import annotations

from typing import Any

OPS = {"mbconv": "MBConv", "fused": "Fused-MBConv"}
Facts = dict[str, Any]


def verdict(facts: Facts) -> tuple[str, str]:
    """A headline and a line under it, of what ``search.json`` says."""
    best = facts["trials"][facts["best"]]
    reference, counts = facts["reference"], tally(facts)
    own = facts["trials"][reference["trial"]] if reference["trial"] is not None else None
    if own is None or not own["reward"]:
        lead = f"Trial {best['number']} has the highest reward, {best['reward']:.4f}"
    elif own["number"] == best["number"]:
        lead = f"No network was worth more than {reference['name']}"
    else:
        times = best["reward"] / own["reward"]
        lead = f"Trial {best['number']} earns {times:.2f} times the reward of {reference['name']}"
    detail = f"Of {sum(counts.values())} trials, {', '.join(f'{n} {state}' for state, n in counts.items())}. " + costs(
        best, reference
    )
    if own is not None and own is not best:
        detail += (
            f" Accuracy {100 * best['accuracy']:.1f} % against {100 * own['accuracy']:.1f} % in the short training."
        )
    return lead, detail


def tally(facts: Facts) -> dict[str, int]:
    """How many trials are in each state."""
    states = [one["state"] for one in facts["trials"]]
    return {state: states.count(state) for state in dict.fromkeys(states)}


def costs(trial: Facts, reference: Facts) -> str:
    """A network's costs by the reference's, in a sentence."""
    share = trial["params"] / reference["params"]
    return (
        f"A training step takes {trial['step_ratio']:.2f} of {reference['name']}'s time; {trial['params'] / 1e6:.2f} M "
        f"parameters are {share:.2f} of its."
    )


def choices_beside(trial: Facts, reference: Facts) -> list[tuple[str, str, str]]:
    """Name, the trial's choice and the reference's, in words; the latter empty where the reference is no point."""
    own, other = trial["choices"], reference["choices"]
    rows = [("input", f"{own['size']} px", f"{other['size']} px" if other else "")]
    rows.append(("channels", str(own["width"]), str(other["width"]) if other else ""))
    stages = sum(name.endswith(".op") for name in own)
    rows += [
        (f"stage {i}", _stage(own, i), _stage(other, i) if other else "") for i in range(1, stages + 1)
    ]  # fmt: skip
    return rows


def _stage(choices: Facts, stage: int) -> str:
    op, kernel, expansion, layers = (choices[f"stage{stage}.{key}"] for key in ("op", "kernel", "expansion", "layers"))
    return f"{OPS[op]}, {layers} layer{'s' if layers > 1 else ''}, kernel {kernel}, expansion {expansion}"
