"""AffineTeacher: fits an affine transform of an encoder's features to human choices, or to a model of them.

Muttenthaler et al. 2025 (AligNet), equations 1 to 3, and the earlier methods that it builds on. The cost hardly
depends on the number of triplets (`choices`), and the optimum is one and found without a learning rate
(`affine_objective`, `affine_solver`).
"""

import warnings
from dataclasses import asdict, dataclass
from typing import Literal, Self, get_args

import numpy as np
import pandas as pd
import torch
from sklearn.base import BaseEstimator

from hf_alignet.errors import InputError
from hf_alignet.teacher.affine_axes import PrincipalAxes
from hf_alignet.teacher.affine_data import AffineData, check_features
from hf_alignet.teacher.affine_local import LocalTerm
from hf_alignet.teacher.affine_objective import Objective, Penalty, distance_to_scaled_identity, squared_norm
from hf_alignet.teacher.affine_selection import mean_cross_entropy, select_regularization
from hf_alignet.teacher.affine_solver import Solution, best_scale, solve
from hf_alignet.teacher.transform import AffineTransform
