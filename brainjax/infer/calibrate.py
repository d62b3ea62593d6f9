"""Makes a classifier's probabilities mean what they say, by one number fitted on validation images."""

from typing import Any

import numpy as np

from brainjax.data.source import Source
from brainjax.infer.predictor import Predictor
from brainjax.metrics.calibration import fit_temperature

_LEAST = 1e-12  # of a probability: float32 softmax gives exact zeros


def calibrated(predictor: Predictor, variables: Any, source: Source, rows: np.ndarray) -> Predictor:
    """The same predictor with the temperature under which `rows` are likeliest.

    Guo et al. 2017 (arXiv:1706.04599), section 4.2. The classes keep their order, so no accuracy changes.

    Args:
        predictor: with whatever temperature; it is fitted anew.
        variables: the network's.
        source: images with labels.
        rows: [n] of images that neither trained the network nor will test it.
    """
    plain = predictor.with_options(temperature=1.0)
    log_p = np.log(np.maximum(plain.probabilities(variables, source, rows), _LEAST))
    temperature = fit_temperature(log_p, source.dataset.label[rows])
    return predictor.with_options(temperature=round(float(temperature), 4))
