"""The options of the training loop itself: the `train` section of a config."""

import dataclasses

from brainjax.train import parallel
from brainjax.types import ConfigError


@dataclasses.dataclass(frozen=True)
class TrainOptions:
    """How long, how often, on what.

    Attributes:
        steps: training steps in all.
        batch_size: examples a step, over all devices.
        checkpoint_every: steps between checkpoints; the last step is always saved.
        eval_every: steps between evaluations on the validation patients.
        log_every: steps between lines of `metrics.jsonl`.
        parallel: 'auto', 'none', 'pmap' or 'jit' (see `brainjax.train.parallel`).
        space: devices among which each image or volume is split, along its first axis; 1 for none.
        accumulate: parts in which a device's share of the batch is computed, one after another, for memory; gradients are
            those of the whole batch. BatchNorm sees one part at a time.
        ema: decay of the average of the weights that is evaluated and released; 0 for the weights themselves.
        mixup: of a classifier, parameter of the Beta distribution that says how far an image is blended with another
            (see `brainjax.train.step.mix`); 0 for never.
        clip_norm: gradients are cut to this global norm; 0 for never.
        patience: evaluations without a better validation score before stopping early; 0 for never.
        monitor: the validation metric (higher is better) that picks the best checkpoint.
        keep: which weights are scored on the test patients at the end: 'best' or 'last'.
        init: release or run whose weights the run begins with (fine-tuning); empty for random ones.
        max_bad_steps: steps in a row without a finite loss and gradient before the run gives up.
    """

    steps: int = 1000
    batch_size: int = 16
    checkpoint_every: int = 200
    eval_every: int = 200
    log_every: int = 10
    parallel: str = "auto"
    space: int = 1
    accumulate: int = 1
    ema: float = 0.99
    mixup: float = 0.0
    clip_norm: float = 1.0
    patience: int = 0
    monitor: str = "dice_volume_mean"
    keep: str = "best"
    init: str = ""
    max_bad_steps: int = 10

    def __post_init__(self) -> None:
        """Raises ConfigError for an option out of range, or a batch that does not divide."""
        counts = ("steps", "batch_size", "checkpoint_every", "eval_every", "log_every")
        for name in (*counts, "max_bad_steps", "space", "accumulate"):
            if getattr(self, name) < 1:
                raise ConfigError(
                    f"--config.train.{name} must be 1 or more, got {getattr(self, name)}"
                )
        if self.patience < 0:
            raise ConfigError(
                f"--config.train.patience={self.patience}; use 0 to switch early stopping off"
            )
        if not 0 <= self.ema < 1:
            raise ConfigError(f"--config.train.ema must be in [0, 1), got {self.ema}")
        if self.mixup < 0:
            raise ConfigError(f"--config.train.mixup must be 0 or more, got {self.mixup}")
        if self.keep not in ("best", "last"):
            raise ConfigError(f"--config.train.keep must be 'best' or 'last', got {self.keep!r}")
        parallel.check_batch(self.batch_size, self.parallel, self.space, self.accumulate)
