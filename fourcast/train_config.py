"""What a training is configured by, part by part: optimizer, loss, rollout, parallelism."""

from dataclasses import dataclass, field
from typing import Any

from fourcast.checks import below_one, not_negative, one_of, positive
from fourcast.errors import InputError


@dataclass
class OptimConfig:
    """The optimizer, its learning rate at every step, and the running average of the weights.

    name: adamw, or muon, which takes the matrices of the network while AdamW takes the rest. schedule, after a linear
    warm-up over warmup_steps: cosine to final_fraction of the peak; constant; one_cycle, which rises over the first
    three tenths and falls as a cosine; or plateau, which multiplies by plateau_factor whenever plateau_patience
    validations in a row bring nothing better. gradient_clip: largest norm of the whole gradient. ema_decay: of an
    exponential moving average of the weights, which then is validated and forecast with; null: none.
    """

    name: str = "adamw"
    learning_rate: float = 5e-4
    schedule: str = "cosine"
    warmup_steps: int = 0
    final_fraction: float = 0.0
    plateau_patience: int = 5
    plateau_factor: float = 0.5
    weight_decay: float = 0.0
    beta1: float = 0.9
    beta2: float = 0.999
    gradient_clip: float | None = None
    ema_decay: float | None = None

    def __post_init__(self) -> None:
        one_of("optim.name", self.name, ("adamw", "muon"))
        one_of("optim.schedule", self.schedule, ("cosine", "one_cycle", "constant", "plateau"))
        positive("optim.learning_rate", self.learning_rate)
        positive("optim.plateau_patience", self.plateau_patience)
        not_negative("optim.warmup_steps", self.warmup_steps)
        not_negative("optim.weight_decay", self.weight_decay)
        for key in ("beta1", "beta2", "final_fraction", "plateau_factor"):
            below_one(f"optim.{key}", getattr(self, key))
        if self.gradient_clip is not None:
            positive("optim.gradient_clip", self.gradient_clip)
        if self.ema_decay is not None:
            below_one("optim.ema_decay", self.ema_decay)


@dataclass
class LossConfig:
    """What is minimised, on normalised fields.

    name: relative_l2 as published; area_mse, area_mae or area_huber, weighted by cell area, every channel in units of
    its typical change over a step; or crps, the almost fair one of an ensemble of crps_members, which needs
    model.noise_channels. channel_weights: factors for variables or single channels, as in {z: 2, t850: 0.5}; the
    others have 1. level_weights: equal, or in proportion to pressure. huber_delta: where area_huber turns linear.
    crps_alpha: 1 is the fair CRPS. spectral_amplitude: weight of the error of the amplitudes of zonal waves.
    """

    name: str = "relative_l2"
    channel_weights: dict[str, float] = field(default_factory=dict)
    level_weights: str = "equal"
    huber_delta: float = 1.0
    crps_members: int = 2
    crps_alpha: float = 0.95
    spectral_amplitude: float = 0.0

    def __post_init__(self) -> None:
        one_of("loss.name", self.name, ("relative_l2", "area_mse", "area_mae", "area_huber", "crps"))
        one_of("loss.level_weights", self.level_weights, ("equal", "pressure"))
        positive("loss.huber_delta", self.huber_delta)
        not_negative("loss.spectral_amplitude", self.spectral_amplitude)
        for name, weight in self.channel_weights.items():
            not_negative(f"loss.channel_weights.{name}", weight)
        if self.crps_members < 2:
            raise InputError(f"loss.crps_members must be 2 or more, found {self.crps_members}")
        if not 0 <= self.crps_alpha <= 1:
            raise InputError(f"loss.crps_alpha must lie in [0, 1], found {self.crps_alpha}")

    @property
    def members(self) -> int:
        """How many members are predicted from every state."""
        return self.crps_members if self.name == "crps" else 1


@dataclass
class RolloutConfig:
    """How many steps of its own a model is trained over.

    steps: a number, or from which training step on how many, as in {0: 1, 8000: 2, 12000: 4}. backprop_steps: the
    gradient flows through the last so many of them only; null: through all.
    """

    steps: Any = 1
    backprop_steps: int | None = None

    def __post_init__(self) -> None:
        stages = self.steps if isinstance(self.steps, dict) else {0: self.steps}
        whole = all(isinstance(number, int) for pair in stages.items() for number in pair)
        if not whole or min(stages, default=1) != 0 or min(stages.values()) < 1:
            raise InputError(
                "rollout.steps must be a number of steps from 1 on, or numbers from training step 0 on as in "
                f"{{0: 1, 8000: 2}}, found {self.steps}"
            )
        if self.backprop_steps is not None:
            positive("rollout.backprop_steps", self.backprop_steps)

    @property
    def stages(self) -> list[tuple[int, int]]:
        """(first training step, rollout steps) of every stage, in order."""
        return sorted(self.steps.items()) if isinstance(self.steps, dict) else [(0, self.steps)]

    def spans(self, last: int) -> list[tuple[int, int, int]]:
        """(first training step, the one after its last, rollout steps) of every stage before step ``last``."""
        ends = [*(first for first, _ in self.stages[1:]), last]
        spans = [(first, min(end, last), steps) for (first, steps), end in zip(self.stages, ends, strict=True)]
        return [span for span in spans if span[0] < span[1]]


@dataclass
class ParallelConfig:
    """How a model is spread over processes, and what it trades for memory and speed.

    strategy: ddp keeps the whole model in every process; fsdp shards parameters, gradients and optimizer state over
    all; hybrid shards them over shard_processes (null: those of one node) and repeats the shards. recompute: fraction
    of the blocks whose activations are computed again in the backward pass instead of kept. compile: null, or a mode
    of torch.compile (default, reduce-overhead, max-autotune) for every block. accumulate: in how many parts, one after
    the other, a process takes its share of a batch.
    """

    strategy: str = "ddp"
    shard_processes: int | None = None
    recompute: float = 0.0
    compile: str | None = None
    accumulate: int = 1

    def __post_init__(self) -> None:
        one_of("parallel.strategy", self.strategy, ("ddp", "fsdp", "hybrid"))
        positive("parallel.accumulate", self.accumulate)
        if self.shard_processes is not None:
            positive("parallel.shard_processes", self.shard_processes)
        if not 0 <= self.recompute <= 1:
            raise InputError(f"parallel.recompute must lie in [0, 1], found {self.recompute}")
        if self.compile is not None:
            one_of("parallel.compile", self.compile, ("default", "reduce-overhead", "max-autotune"))
