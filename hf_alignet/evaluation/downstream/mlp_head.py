"""A head with one or two hidden layers on frozen embeddings, as Sucholutsky & Griffiths (2023) train one.

Four fifths of the inputs are dropped while it learns. All settings are fixed, so that models differ by their
embeddings alone.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from hf_alignet.evaluation.downstream.classifiers import BLOCK, Standard

DROPOUT, WIDTH = 0.8, 256
EPOCHS, BATCH, LEARNING_RATE = 100, 256, 1e-3


@dataclass(frozen=True)
class Head:
    """A trained head."""

    standard: Standard
    layers: nn.Module

    def predict(self, embeddings: np.ndarray) -> np.ndarray:
        """(n,) int64."""
        device = next(self.layers.parameters()).device
        found = []
        with torch.inference_mode():
            for start in range(0, len(embeddings), BLOCK):
                x = torch.from_numpy(self.standard(embeddings[start : start + BLOCK]).astype(np.float32))
                found.append(self.layers(x.to(device)).argmax(1).cpu().numpy())
        return np.concatenate(found)


def fit_mlp(embeddings: np.ndarray, labels: np.ndarray, num_classes: int, hidden_layers: int, seed: int) -> Head:
    """Trains a head by Adam for 100 epochs; the same seed gives the same head on the same machine."""
    device = torch.accelerator.current_accelerator() or torch.device("cpu")
    standard = Standard.of(embeddings)
    x, y = torch.from_numpy(standard(embeddings).astype(np.float32)).to(device), torch.as_tensor(labels).to(device)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layers: list[nn.Module] = [nn.Dropout(DROPOUT)]
        width = x.shape[1]
        for _ in range(hidden_layers):
            layers += [nn.Linear(width, WIDTH), nn.ReLU()]
            width = WIDTH
        head = nn.Sequential(*layers, nn.Linear(width, num_classes)).to(device)
        optimizer = torch.optim.Adam(head.parameters(), LEARNING_RATE)
        for _ in range(EPOCHS):
            for rows in torch.randperm(len(x)).to(device).split(BATCH):
                loss = nn.functional.cross_entropy(head(x[rows]), y[rows])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
    return Head(standard, head.eval())
