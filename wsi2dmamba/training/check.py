"""The preflight of a run: everything about table, features and splits, before any training."""

from __future__ import annotations

from dataclasses import dataclass, field

from wsi2dmamba.cohort.cases import Cohort
from wsi2dmamba.cohort.matching import match_features
from wsi2dmamba.cohort.splits import make_splits, weak_spots
from wsi2dmamba.cohort.summary import cohort_lines, fold_lines
from wsi2dmamba.cohort.table import load_cohort
from wsi2dmamba.config import RunConfig
from wsi2dmamba.core.errors import WSI2DMambaError
from wsi2dmamba.training.preflight import describe_features


@dataclass
class Preflight:
    """What the preflight found.

    Attributes
    ----------
    facts
        What is there.
    warnings
        What is odd, but can be trained.
    problems
        What stops a training.
    """

    facts: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """Return everything as lines, problems last."""
        return [
            *self.facts,
            *(f"warning: {line}" for line in self.warnings),
            *(f"problem: {line}" for line in self.problems),
        ]


def check_run(config: RunConfig) -> Preflight:
    """Check table, features and splits as far as each allows, and collect what is found instead of stopping."""
    found = Preflight()
    try:
        cohort = load_cohort(config.cohort)
    except WSI2DMambaError as error:
        found.problems.append(str(error))
        return found
    cohort = _check_features(config, cohort, found)
    try:
        folds = make_splits(cohort, config.splits, config.cohort)
    except WSI2DMambaError as error:
        found.problems.append(str(error))
        return found
    found.facts += fold_lines(folds, cohort)
    found.warnings += weak_spots(folds, cohort)
    return found


def _check_features(config: RunConfig, cohort: Cohort, found: Preflight) -> Cohort:
    try:
        matched = match_features(cohort, config.features.dir)
    except WSI2DMambaError as error:
        found.facts += cohort_lines(cohort)
        found.problems.append(str(error))
        return cohort
    found.facts += cohort_lines(matched.cohort)
    found.warnings += [f"no features for {slide}; is it {near}?" for slide, near in matched.suggestions.items()]
    if matched.unlabelled:
        shown = ", ".join(matched.unlabelled[:4])
        found.warnings.append(f"{len(matched.unlabelled)} feature files have no row in the table ({shown}…)")
    try:
        features = describe_features(matched.paths, config.features)
        found.facts.append(f"features: {features.dim} numbers per patch by {features.encoder} at {features.mpp} µm/px")
    except WSI2DMambaError as error:
        found.problems.append(str(error))
    return matched.cohort
