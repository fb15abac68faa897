"""Concordance of risks with survival times, vectorised over resamples: Harrell's and Uno's C."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wsi2dmamba.evaluation.bootstrap import Floats, ratio

TIED_RISK = 1e-8
_BLOCK_ROWS = 1024


class Concordance:
    """The comparable pairs of a set of patients, and which of them the risks order rightly.

    A pair is comparable when the earlier of the two times is an event; at equal times, when one is an event and the
    other is censored (the event came first). Equal risks (within 1e-8) count half. Pairs are formed within a stratum
    only: the risks of two folds come from two models and have no common scale.

    Parameters
    ----------
    time, event, risk
        (n,) follow-up, whether the event was seen, predicted risk (higher = sooner).
    stratum
        (n,) int, the fold.

    Notes
    -----
    Harrell et al., JAMA 1982; Uno et al., Stat Med 2011, where a pair weighs Ĝ(tᵢ)⁻² with the censoring distribution
    Ĝ, and only events before a horizon τ start a pair.
    """

    def __init__(self, time: Floats, event: NDArray[np.bool_], risk: Floats, stratum: NDArray[np.int64]) -> None:
        self._time, self._event, self._risk = time, event, risk
        self._strata = [np.flatnonzero(stratum == k) for k in np.unique(stratum)]

    def measure(self, weights: Floats, pair_weight: Floats | None = None) -> tuple[Floats, Floats]:
        """Return Harrell's C, and C with the earlier case of each pair weighed by `pair_weight` (Uno's).

        Parameters
        ----------
        weights
            (resamples, n).
        pair_weight
            (n,) weight of the pairs that row i starts; None leaves the second C undefined (NaN).

        Returns
        -------
        tuple of ndarray
            (resamples,) each, NaN where no pair is comparable.
        """
        sums = np.zeros((4, len(weights)))
        for rows in self._strata:
            starters = rows[self._event[rows]]
            for block in range(0, len(starters), _BLOCK_ROWS):
                sums += self._block(starters[block : block + _BLOCK_ROWS], rows, weights, pair_weight)
        harrell = ratio(sums[0], sums[1])
        return harrell, ratio(sums[2], sums[3]) if pair_weight is not None else np.full_like(harrell, np.nan)

    def _block(
        self, starters: NDArray[np.int64], rows: NDArray[np.int64], weights: Floats, pair_weight: Floats | None
    ) -> Floats:
        comparable, right = self._pairs(starters, rows)
        earlier = weights[:, starters]
        later = np.ascontiguousarray(weights[:, rows])
        # Two matrix products give, for every resample, the pairs of each starting event.
        won = earlier * (later @ right.T)
        all_pairs = earlier * (later @ comparable.T)
        sums = [won.sum(axis=1), all_pairs.sum(axis=1), np.zeros(len(weights)), np.zeros(len(weights))]
        if pair_weight is not None:
            sums[2:] = [won @ pair_weight[starters], all_pairs @ pair_weight[starters]]
        return np.stack(sums)

    def _pairs(self, starters: NDArray[np.int64], rows: NDArray[np.int64]) -> tuple[Floats, Floats]:
        gap = self._time[rows][None, :] - self._time[starters][:, None]
        comparable = (gap > 0) | ((gap == 0) & ~self._event[rows][None, :])
        ahead = self._risk[starters][:, None] - self._risk[rows][None, :]
        tied = np.abs(ahead) <= TIED_RISK
        right = comparable * np.where(tied, 0.5, (ahead > 0).astype(np.float64))
        return comparable.astype(np.float64), right


def c_index(time: Floats, event: NDArray[np.bool_], risk: Floats) -> float:
    """Return Harrell's C of one set of patients; NaN without a comparable pair."""
    pairs = Concordance(
        np.asarray(time, dtype=np.float64),
        np.asarray(event, dtype=bool),
        np.asarray(risk, dtype=np.float64),
        np.zeros(len(time), dtype=np.int64),
    )
    return float(pairs.measure(np.ones((1, len(time))))[0][0])
