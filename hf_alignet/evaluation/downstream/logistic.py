"""Multinomial logistic regression by L-BFGS, on a GPU where there is one.

The objective is that of scikit-learn's `LogisticRegression`: the sum of the cross-entropies times `strength`, and half
the squared weights, without the intercepts. Features are read in blocks and summed in float64, so that a million
images fit into the memory of the device in float32.
"""

import numpy as np
import scipy
import torch

from hf_alignet.evaluation.downstream.classifiers import Linear, Standard
from hf_alignet.evaluation.downstream.labelled import ranks_in_classes

STRENGTHS = 10.0 ** np.arange(-6, 3)  # scikit-learn's C, on standardised features
BLOCK = 65_536  # rows whose scores are in memory together
HELD_OUT = 5  # every fifth image of a class chooses the strength
MAX_ITERATIONS = 1000
GRADIENT = 1e-7  # largest entry of the gradient of the mean at which the solver stops
ROUGH = 1e-6  # the same to compare strengths


def fit_logistic(
    embeddings: np.ndarray,
    labels: np.ndarray,
    num_classes: int,
    strength: float = 1.0,
    start: Linear | None = None,
    gradient: float = GRADIENT,
) -> Linear:
    """The regression with one strength (scikit-learn's `C`), on features as they are.

    A `start` near the solution, such as that for another strength, changes the way there only. The solver stops at a
    `gradient` of the mean.
    """
    device = torch.accelerator.current_accelerator() or torch.device("cpu")
    x = torch.as_tensor(np.asarray(embeddings, np.float32), device=device)
    y = torch.as_tensor(labels, device=device)
    wide = torch.float64 if device.type != "mps" else torch.float32
    shape = (x.shape[1] + 1, num_classes)  # the intercepts are the last row

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        """The objective and its gradient."""
        solution = torch.tensor(flat.reshape(shape), device=device, dtype=wide, requires_grad=True)
        total = solution[:-1].square().sum() / 2
        total.backward()
        value = float(total.detach())
        for start in range(0, len(x), BLOCK):
            rows = slice(start, start + BLOCK)
            scores = x[rows].to(wide) @ solution[:-1] + solution[-1]
            part = strength * torch.nn.functional.cross_entropy(scores, y[rows], reduction="sum")
            part.backward()
            value += float(part.detach())
        assert solution.grad is not None
        return value, solution.grad.cpu().numpy().astype(np.float64).ravel()

    first = np.zeros(shape) if start is None else np.vstack([start.weight, start.bias])
    limits = {"maxiter": MAX_ITERATIONS, "maxfun": 2 * MAX_ITERATIONS, "ftol": 0.0}
    limits["gtol"] = gradient * strength * len(y)
    found = scipy.optimize.minimize(loss, first.ravel(), jac=True, method="L-BFGS-B", options=limits)
    solution = found.x.reshape(shape)
    return Linear(solution[:-1], solution[-1])


def fit_probe(embeddings: np.ndarray, labels: np.ndarray, num_classes: int, seed: int = 0) -> Linear:
    """The regression on standardised features, with the strength that is best on a fifth of the images.

    Then it is fitted to all images. Of strengths that are equally good the weakest wins.
    """
    standard = Standard.of(embeddings)
    x = standard(embeddings).astype(np.float32)
    is_held_out = ranks_in_classes(labels, seed) % HELD_OUT == HELD_OUT - 1
    best, nearest, most, fitted = STRENGTHS[0], None, -1.0, None
    for strength in STRENGTHS:
        fitted = fit_logistic(x[~is_held_out], labels[~is_held_out], num_classes, strength, fitted, ROUGH)
        right = float((fitted.predict(x[is_held_out]) == labels[is_held_out]).mean()) if is_held_out.any() else 0.0
        if right > most:
            best, nearest, most = strength, fitted, right
    fitted = fit_logistic(x, labels, num_classes, best, nearest)
    return standard.undone(fitted.weight, fitted.bias)
