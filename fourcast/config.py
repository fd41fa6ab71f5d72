"""The schema of conf/: one dataclass per verb, checked before the first byte is read.

Defaults live here and only here; YAML files under conf/ hold what differs. Programs see these dataclasses, never
a DictConfig. A key typed ``Any`` takes one name or a list of names. An unknown key or a wrong type fails when Hydra
composes; what types cannot say is checked in ``__post_init__`` and fails with the name of the key.
"""

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING

from fourcast.checks import as_list, below_one, not_negative, one_of, positive
from fourcast.errors import InputError
from fourcast.files import STORE
from fourcast.forecast_config import EnsembleConfig, FilesConfig, ProductsConfig
from fourcast.mixer_config import AFNOConfig, MixerConfig
from fourcast.periods import check_period, parse_part, parse_time
from fourcast.train_config import LossConfig, OptimConfig, ParallelConfig, RolloutConfig

Period = tuple[str | None, str | None]
"""First and last time, inclusive; None: from the first, or to the last."""


@dataclass
class DataConfig:
    """What a training reads: the stores, the channels (null: all of the first), and the periods.

    store: one, or a list of stores of the same kind that continue each other; the first one's statistics normalise.
    stride: steps of the store from one state to the next. train_start, train_end: one period, or a list of starts and
    a list of ends; likewise for validation. Without a validation period, the last tenth of the training period is
    held out; end it before any date meant for verification.

    memory_gb: stores up to this size are held in memory. Larger ones are read ahead by workers (0: none), which are
    threads or processes as loader says; prefetch: how many batches ahead.
    """

    store: Any = STORE
    channels: Any = None
    stride: int = 1
    train_start: Any = None
    train_end: Any = None
    validation_start: Any = None
    validation_end: Any = None
    memory_gb: float = 4.0
    loader: str = "threads"
    workers: int = 4
    prefetch: int = 2

    def __post_init__(self) -> None:
        self.store = as_list("data.store", self.store)
        self.channels = as_list("data.channels", self.channels)
        one_of("data.loader", self.loader, ("threads", "processes"))
        positive("data.stride", self.stride)
        positive("data.prefetch", self.prefetch)
        not_negative("data.workers", self.workers)
        self.train_periods, self.validation_periods  # noqa: B018  each is checked as it is read

    @property
    def train_periods(self) -> list[Period]:
        """The periods to train on."""
        return _periods("data.train_", self.train_start, self.train_end)

    @property
    def validation_periods(self) -> list[Period] | None:
        """The periods to validate on; None where the configuration names none."""
        if self.validation_start is None and self.validation_end is None:
            return None
        return _periods("data.validation_", self.validation_start, self.validation_end)


def _periods(prefix: str, start: Any, end: Any) -> list[Period]:
    """Periods from one start and end, or from lists of them; InputError where they do not pair or end too early."""
    starts, ends = (list(value) if isinstance(value, list) else [value] for value in (start, end))
    if len(starts) != len(ends):
        raise InputError(f"{prefix}start names {len(starts)} periods and {prefix}end {len(ends)}; give each both")
    for pair in zip(starts, ends, strict=True):
        check_period(prefix, *pair)
    return list(zip(starts, ends, strict=True))


@dataclass
class ModelConfig:
    """FourCastNet's network (Pathak et al. 2022); the defaults are the published sizes and its mixer.

    target: direct, where the network gives the next state as published, or residual, where it gives the change in
    units of its typical size. noise_channels: channels of standard normal noise, drawn anew at every step, that the
    network sees beside the state, so that one state has an ensemble of successors.
    """

    patch_size: int = 8
    embed_dim: int = 768
    depth: int = 12
    mlp_ratio: float = 4.0
    drop_rate: float = 0.0
    drop_path_rate: float = 0.0
    mixer: MixerConfig = field(default_factory=AFNOConfig)
    target: str = "direct"
    noise_channels: int = 0

    def __post_init__(self) -> None:
        not_negative("model.noise_channels", self.noise_channels)
        for key in ("patch_size", "embed_dim", "depth", "mlp_ratio"):
            positive(f"model.{key}", getattr(self, key))
        one_of("model.target", self.target, ("direct", "residual"))
        for key in ("drop_rate", "drop_path_rate"):
            below_one(f"model.{key}", getattr(self, key))
        self.mixer.check_width(self.embed_dim)


@dataclass
class TrainConfig:
    """``fourcast train``: train a model on a store.

    batch_size is global: it is divided among processes. precision: fp32, tf32 (fp32 with matrix products of lower
    precision where a GPU has them), or autocast to bf16 or fp16. start_from: a checkpoint whose weights, channels and
    statistics a new training begins with. backbone: a checkpoint on whose prediction a precipitation model is
    trained, towards the store's tp06; null: train a forecast model. skip_limit: how many steps in a row may be
    skipped for a loss or gradient that is not finite.

    validate_every, validation_samples: how often, in steps, and from how many initial times; validation_steps: how far
    these are rolled forward for scores by channel, where the period is that long. pictures: channels drawn as maps and
    spectra at every validation (null: the first; []: none). checkpoint_every: steps between checkpoints; each
    validation makes one, too. keep_checkpoints and the best stay; async_checkpoints writes them while training goes on.
    trackers: tensorboard, wandb, mlflow, or null: log.jsonl alone. profile_steps: how many steps, after the first
    three, go into a profile.
    predict: say before the first step, as fourcast plan does, what memory and time the training takes, and after some
    how far off that was. resume: go on from the newest checkpoint in output, if there is one.
    """

    output: str = "runs/train"
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    rollout: RolloutConfig = field(default_factory=RolloutConfig)
    parallel: ParallelConfig = field(default_factory=ParallelConfig)
    steps: int = 10_000
    batch_size: int = 64
    precision: str = "fp32"
    start_from: str | None = None
    backbone: str | None = None
    seed: int = 0
    device: str = "auto"
    skip_limit: int = 10
    log_every: int = 50
    validate_every: int = 1000
    validation_samples: int = 256
    validation_steps: int = 4
    pictures: Any = None
    checkpoint_every: int = 1000
    keep_checkpoints: int = 3
    async_checkpoints: bool = True
    trackers: Any = "tensorboard"
    profile_steps: int = 0
    predict: bool = True
    resume: bool = True

    def __post_init__(self) -> None:
        self.pictures = as_list("pictures", self.pictures) if self.pictures != [] else []
        self.trackers = as_list("trackers", self.trackers)
        for tracker in self.trackers or []:
            one_of("trackers", tracker, ("tensorboard", "wandb", "mlflow"))
        one_of("precision", self.precision, ("fp32", "tf32", "bf16", "fp16"))
        for key in ("steps", "batch_size", "log_every", "validate_every", "validation_samples", "validation_steps",
                    "checkpoint_every", "keep_checkpoints", "skip_limit"):  # fmt: skip
            positive(key, getattr(self, key))
        not_negative("seed", self.seed)
        not_negative("profile_steps", self.profile_steps)
        if self.loss.name == "crps" and self.model.noise_channels == 0:
            raise InputError("loss.name=crps trains an ensemble: give the model noise with model.noise_channels=1")
        if self.backbone is not None and self.model.target != "direct":
            raise InputError("backbone=… trains a precipitation model: set model.target=direct")
        if self.backbone is not None and self.model.noise_channels:
            raise InputError("backbone=… trains a precipitation model: set model.noise_channels=0")


@dataclass
class PlanConfig(TrainConfig):
    """``fourcast plan``: predict what a training takes, with the keys of ``fourcast train``.

    processes: on how many processes the training is to run. device_memory_gb: of each one's device; null: what this
    machine's has free. With both, a training on a cluster's GPUs is planned on a laptop (device=cuda).
    """

    processes: int = 1
    device_memory_gb: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        positive("processes", self.processes)
        if self.device_memory_gb is not None:
            positive("device_memory_gb", self.device_memory_gb)


@dataclass
class ForecastConfig:
    """``fourcast forecast``: roll a model forward from one or many initial times into CF netCDF.

    checkpoint: one, or several whose members take turns. precipitation: the checkpoint of a precipitation model, which
    adds tp06 to every state, the initial one too: metres in the six hours that end at its time.

    store: where the initial states lie; or initial: netCDF, GRIB or zarr files that fourcast ingest reads, or files of
    another forecast, of which initial_number is the member to take. regrid: how they come to the model's grid where
    theirs is another (conservative, bilinear; null: they are refused). allow: what is implausible about them and meant
    to be, each by its kind or for one channel, as in t850:range. init_times: the initial times themselves; where
    these are null, one every init_every_hours from init_start to init_end; of initial, where nothing is named, the last
    one it holds.

    variables: names of variables or channels to write, wind speeds (ws10m, ws850) and vorticity (vo500) among them;
    null: all channels of the model. part: "k/N", one share of the run of N that array jobs make in the same output:
    whole initial times, or in exact mode without products members of them; what files.layout makes of members' files
    is then left to the same command without part.
    """

    checkpoint: Any = "runs/train"
    precipitation: str | None = None
    store: str = STORE
    initial: Any = None
    initial_number: int | None = None
    regrid: str | None = None
    allow: Any = None
    output: str = "runs/forecast"
    init_times: Any = None
    init_start: str | None = None
    init_end: str | None = None
    init_every_hours: int = 24
    lead_hours: int = 120
    variables: Any = None
    ensemble: EnsembleConfig = field(default_factory=EnsembleConfig)
    files: FilesConfig = field(default_factory=FilesConfig)
    products: ProductsConfig = field(default_factory=ProductsConfig)
    part: str | None = None
    precision: str = "fp32"
    device: str = "auto"
    overwrite: bool = False

    def __post_init__(self) -> None:
        for key in ("checkpoint", "initial", "allow", "init_times", "variables"):
            setattr(self, key, as_list(key, getattr(self, key)))
        one_of("precision", self.precision, ("fp32", "bf16", "fp16"))
        if self.regrid is not None:
            one_of("regrid", self.regrid, ("conservative", "bilinear"))
        positive("lead_hours", self.lead_hours)
        positive("init_every_hours", self.init_every_hours)
        for time in self.init_times or []:
            parse_time("init_times", time)
        if (self.init_start is None) != (self.init_end is None):
            raise InputError("init_start and init_end go together: name both, or init_times=[2026-08-10T00]")
        if self.init_times is None and self.init_start is None and self.initial is None:
            raise InputError("name the initial times: init_times=[2026-08-10T00], or init_start and init_end")
        check_period("init_", self.init_start, self.init_end)
        parse_part(self.part)
        if self.overwrite and self.part is not None:
            raise InputError("overwrite=true with part=… would delete what other shares did; remove the run first")
        if not self.files.layout and not self.products.any:
            raise InputError("nothing would be written: name files.layout, or products.statistics=[mean,spread]")


@dataclass
class CalibrateConfig:
    """``fourcast calibrate``: find the amplitude at which an ensemble's spread matches its error.

    init_start … init_end: initial times to calibrate on, held out from training and from verification.
    target_hours: the lead time at which spread and error are to match. ensemble: as of the forecasts to be made; of its
    perturbations, ``perturbation`` (gaussian, correlated or bred) has its amplitude found, from the one given.
    by_channel: find an amplitude for every channel; else one factor for all, as always for bred vectors, whose shape is
    the model's. rounds: of forecasts, each with better amplitudes.
    """

    checkpoint: str = "runs/train"
    store: str = STORE
    output: str = "runs/calibration"
    init_start: str = MISSING
    init_end: str = MISSING
    init_every_hours: int = 120
    target_hours: int = 24
    perturbation: str = "gaussian"
    by_channel: bool = True
    rounds: int = 6
    ensemble: EnsembleConfig = field(default_factory=lambda: EnsembleConfig(size=10))
    precision: str = "fp32"
    device: str = "auto"
    plots: bool = True
    overwrite: bool = False

    def __post_init__(self) -> None:
        one_of("perturbation", self.perturbation, ("gaussian", "correlated", "bred"))
        one_of("precision", self.precision, ("fp32", "bf16", "fp16"))
        for key in ("target_hours", "init_every_hours", "rounds"):
            positive(key, getattr(self, key))
        if self.ensemble.size < 3 or self.ensemble.members is not None:
            raise InputError(
                f"ensemble.size must be at least 3 and ensemble.members null to measure a spread, found size "
                f"{self.ensemble.size}"
            )
        if MISSING not in (self.init_start, self.init_end):
            check_period("init_", self.init_start, self.init_end)


@dataclass
class ImportWeightsConfig:
    """``fourcast import-weights``: turn somebody's FourCastNet weights into a checkpoint.

    channels: names in the order of the weights; null: the published set of that many channels. means, stds: .npy
    files of the normalisation, without which the checkpoint loads but cannot forecast. image_size: (rows, columns)
    where the file does not say; null: the published 1:2 shape that the number of tokens implies.
    """

    source: str = MISSING
    output: str = MISSING
    hard_thresholding_fraction: float = 1.0
    channels: Any = None
    means: str | None = None
    stds: str | None = None
    image_size: list[int] | None = None
    overwrite: bool = False

    def __post_init__(self) -> None:
        self.channels = as_list("channels", self.channels)
        if not 0.0 < self.hard_thresholding_fraction <= 1.0:
            raise InputError(f"hard_thresholding_fraction must lie in (0, 1], found {self.hard_thresholding_fraction}")
        if self.image_size is not None and len(self.image_size) != 2:
            raise InputError(f"image_size must be [rows, columns], found {self.image_size}")


@dataclass
class ExportWeightsConfig:
    """``fourcast export-weights``: write a checkpoint of ours in the form in which FourCastNet's weights are published.

    output: the file, which torch.load reads.
    """

    checkpoint: str = MISSING
    output: str = MISSING
    overwrite: bool = False
