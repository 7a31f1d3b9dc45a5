"""Cross-entropy of choices under dimensions that each triplet, or each group of people, weighs, and its gradient.

One pass over the triplets, so that memory does not grow with triplets times dimensions.
"""

import numpy as np
from numba import njit

from hf_alignet.similarity import PAIRS

(A0, B0), (A1, B1), (A2, B2) = PAIRS


# The order of the sums is free, so that the compiler can use vector instructions
@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def weighed_cross_entropy(  # type: ignore[no-untyped-def]
    leading, gates, rows, triplets, similarities, probabilities, weights, limit, slopes
):
    """The cross-entropy, and its gradient with respect to `gates`, which is added to `slopes`.

    Args:
        leading: (n, r) dimensions x of the objects.
        gates: (k, r) h. The logarithm of the weight of a dimension is the mean of h over three rows.
        rows: (m, 3) rows of `gates` of each triplet.
        triplets: (m, 3) rows of `leading`.
        similarities: (m, 3) with all weights 1, in pair order.
        probabilities: (m, 3) of choices; each row sums to 1.
        weights: (m,) whose sum is 1.
        limit: greatest size of that logarithm.
        slopes: (k, r) float64.
    """
    r = leading.shape[1]
    factor = np.empty(r, leading.dtype)
    loss = 0.0
    for t in range(len(triplets)):
        corners = leading[triplets[t, 0]], leading[triplets[t, 1]], leading[triplets[t, 2]]
        first, second, third = gates[rows[t, 0]], gates[rows[t, 1]], gates[rows[t, 2]]
        s0, s1, s2 = similarities[t]
        for d in range(r):
            log_weight = (first[d] + second[d] + third[d]) / 3
            factor[d] = np.exp(min(max(log_weight, -limit), limit))
            extra = factor[d] - 1
            s0 += extra * corners[A0][d] * corners[B0][d]
            s1 += extra * corners[A1][d] * corners[B1][d]
            s2 += extra * corners[A2][d] * corners[B2][d]
        highest = max(s0, s1, s2)
        e0, e1, e2 = np.exp(s0 - highest), np.exp(s1 - highest), np.exp(s2 - highest)
        total = e0 + e1 + e2
        p0, p1, p2 = probabilities[t]
        loss += weights[t] * (highest + np.log(total) - p0 * s0 - p1 * s1 - p2 * s2)
        d0, d1, d2 = weights[t] * (e0 / total - p0), weights[t] * (e1 / total - p1), weights[t] * (e2 / total - p2)
        for d in range(r):
            log_weight = (first[d] + second[d] + third[d]) / 3
            if abs(log_weight) < limit:
                slope = d0 * corners[A0][d] * corners[B0][d]
                slope += d1 * corners[A1][d] * corners[B1][d] + d2 * corners[A2][d] * corners[B2][d]
                slope *= factor[d] / 3
                slopes[rows[t, 0], d] += slope
                slopes[rows[t, 1], d] += slope
                slopes[rows[t, 2], d] += slope
    return loss
