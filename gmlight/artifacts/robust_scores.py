"""Scores that compare an accuracy with those of random images and of the whole training set.

Li et al., "DD-Ranking", 2025. An accuracy alone also measures how well its evaluation protocol trains; these
scores cancel much of that. Accuracies are in percent, scores from 0 to 1.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

RANDOM, WHOLE = "random images", "whole train set"  # names of the baselines


def label_robust_score(synthetic: float, random: float, whole: float, weight: float = 0.5) -> float:
    """LRS: the gain over random images against the loss to the whole set.

    Args:
        synthetic: accuracy of the synthetic set.
        random: of as many random images.
        whole: of the whole training set.
        weight: of the gain; the loss has the rest.
    """
    return _scaled(weight * (synthetic - random) - (1 - weight) * (whole - synthetic))


def augmentation_robust_score(augmented: float, plain: float, weight: float = 0.5) -> float:
    """ARS: the gains over random images with and without augmentation, each under one protocol.

    Args:
        augmented: gain where both sets are evaluated with augmentation.
        plain: gain where neither is.
        weight: of the gain with augmentation.
    """
    return _scaled(weight * augmented + (1 - weight) * plain)


def label_robust_scores(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Computes the LRS of an evaluated set on each architecture that has both baselines.

    Args:
        rows: outputs of `Evaluation.as_dict`, of the set and then of its baselines; none for a blank cell.
    """
    if not rows:
        return {}
    means = {(row["name"], row["architecture"]): row["accuracy"]["mean"] for row in rows}
    name = rows[0]["name"]
    architectures = [row["architecture"] for row in rows if row["name"] == name]
    return {
        each: label_robust_score(means[name, each], means[RANDOM, each], means[WHOLE, each])
        for each in architectures
        if (RANDOM, each) in means and (WHOLE, each) in means and name not in (RANDOM, WHOLE)
    }


def _scaled(percent: float) -> float:
    # From -1..1 in shares to 0..1.
    least, most = math.exp(-1), math.e
    return (math.exp(percent / 100) - least) / (most - least)
