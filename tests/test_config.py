"""The schema: what it refuses, by name, and how it reads times and names."""

from collections.abc import Callable
from dataclasses import fields

import numpy as np
import pytest
from omegaconf import MISSING
from tiny import composed

from fourcast.cli import VERBS
from fourcast.compose import SCHEMAS, conf_directory
from fourcast.config import DataConfig, ForecastConfig, ImportWeightsConfig, ModelConfig, TrainConfig, as_list
from fourcast.data_config import IngestConfig, PlanetConfig
from fourcast.errors import InputError
from fourcast.mixer_config import (
    MIXERS,
    AFNOConfig,
    FFCConfig,
    FNOConfig,
    GFNetConfig,
    LongConvConfig,
    MixerConfig,
    ModesConfig,
    ParCConfig,
)
from fourcast.periods import check_period, parse_time, within
from fourcast.train_config import LossConfig, OptimConfig, ParallelConfig, RolloutConfig
from fourcast.verify_config import VerifyConfig


@pytest.mark.parametrize("text", ["2026-08-10T12", "2026-08-10 12:00", "2026-08-10T12:00:00Z"])
def test_times_are_utc_hours(text: str) -> None:
    assert parse_time("start", text) == np.datetime64("2026-08-10T12", "h")


@pytest.mark.parametrize("text", ["2026", "2026-08", "2026-08-10T12:30", "10.08.2026", "2026-02-30", "soon", "", None])
def test_other_times_are_refused_by_key(text: object) -> None:
    with pytest.raises(InputError, match="start must be a UTC time to the hour such as 2026-08-10T12, found "):
        parse_time("start", text)


def test_a_period_holds_both_ends_and_an_end_without_hour_the_whole_day() -> None:
    times = np.datetime64("2026-08-01T00", "h") + 6 * np.arange(12)
    assert np.flatnonzero(within(times, "2026-08-01T06", "2026-08-02")).tolist() == [1, 2, 3, 4, 5, 6, 7]
    assert np.flatnonzero(within(times, "2026-08-02", "2026-08-02T06")).tolist() == [4, 5]
    assert within(times, None, None).all()


def test_a_period_that_ends_before_it_starts_is_refused() -> None:
    check_period("train_", "2026-08-10T12", "2026-08-10")
    with pytest.raises(InputError, match=r"train_end \(2026-08-10T06\) lies before train_start \(2026-08-10T12\)"):
        check_period("train_", "2026-08-10T12", "2026-08-10T06")


def test_one_name_or_several() -> None:
    assert as_list("channels", "t850") == ["t850"]
    assert as_list("channels", ["t850", "z500"]) == ["t850", "z500"]
    assert as_list("channels", None) is None
    assert as_list("source", MISSING) == MISSING
    for wrong in (3, [], ["t850", 3], {"t": 1}):
        with pytest.raises(InputError, match="channels must be a name or a list of names, found "):
            as_list("channels", wrong)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PlanetConfig(name="mars"), "planet.name must be one of qg3, speedy, found 'mars'"),
        (lambda: PlanetConfig(days=0), "planet.days must be above 0"),
        (lambda: PlanetConfig(start="soon"), "planet.start must be a UTC time"),
        (lambda: IngestConfig(south_pole="melt"), "south_pole must be one of drop, keep"),
        (lambda: IngestConfig(step_hours=0), "step_hours must be above 0, found 0"),
        (lambda: IngestConfig(climatology_harmonics=-1), "climatology_harmonics must not be negative"),
        (lambda: IngestConfig(start="2026-02-01", end="2026-01-01"), "end .* lies before start"),
        (lambda: DataConfig(channels=[1]), "data.channels must be a name or a list of names"),
        (lambda: DataConfig(train_end="2026"), "data.train_end must be a UTC time"),
        (lambda: DataConfig(workers=-1), "data.workers must not be negative"),
        (lambda: ModesConfig(policy="some"), "model.mixer.modes.policy must be one of fourcastnet, full, lowpass"),
        (lambda: ModesConfig(zonal_fraction=0), r"model.mixer.modes.zonal_fraction must lie in \(0, 1\], found 0"),
        (
            lambda: ModelConfig(embed_dim=10, mixer=FNOConfig(num_blocks=4)),
            "model.embed_dim must be a multiple of model.mixer.num_blocks, found 10 and 4",
        ),
        (lambda: ModelConfig(embed_dim=9, mixer=ParCConfig()), "must be a multiple of 2 for mixer=parc, found 9"),
        (
            lambda: ModelConfig(embed_dim=24, mixer=FFCConfig()),
            "global_ratio=0.5 of model.embed_dim=24 makes 12 global channels; .* must be a multiple of 8",
        ),
        (lambda: ModelConfig(embed_dim=10, mixer=FFCConfig(local_fourier_unit=False)), "5 global .* multiple of 2"),
        (lambda: ModelConfig(embed_dim=8, mixer=FFCConfig(global_ratio=0.1)), "makes 0 global channels"),
        (lambda: AFNOConfig(num_blocks=0), "model.mixer.num_blocks must be above 0"),
        (lambda: AFNOConfig(sparsity_threshold=-1.0), "model.mixer.sparsity_threshold must not be negative"),
        (lambda: FFCConfig(global_ratio=1.0), r"model.mixer.global_ratio must lie in \(0, 1\), found 1.0"),
        (lambda: ParCConfig(meta_resolution=[8]), r"meta_resolution must be \[rows, columns\], found \[8\]"),
        (lambda: ParCConfig(meta_resolution=[8, 0]), r"meta_resolution must be \[rows, columns\], found \[8, 0\]"),
        (lambda: LongConvConfig(squash=-0.1), "model.mixer.squash must not be negative"),
        (lambda: LongConvConfig(kernel_dropout=1.0), r"model.mixer.kernel_dropout must lie in \[0, 1\)"),
        (lambda: LongConvConfig(smooth_width=4), "model.mixer.smooth_width must be 0 or odd, found 4"),
        (lambda: GFNetConfig(name="fno"), "model.mixer.name is 'gfnet' here, found 'fno'; choose .* mixer="),
        (lambda: ModelConfig(depth=0), "model.depth must be above 0"),
        (lambda: ModelConfig(target="nudged"), "model.target must be one of direct, residual"),
        (lambda: ModelConfig(drop_rate=1.0), r"model.drop_rate must lie in \[0, 1\), found 1.0"),
        (lambda: ModelConfig(drop_path_rate=-0.5), "model.drop_path_rate must lie in"),
        (lambda: OptimConfig(learning_rate=float("nan")), "optim.learning_rate must be above 0, found nan"),
        (lambda: OptimConfig(beta2=1.0), "optim.beta2 must lie in"),
        (lambda: OptimConfig(warmup_steps=-1), "optim.warmup_steps must not be negative"),
        (lambda: OptimConfig(gradient_clip=0.0), "optim.gradient_clip must be above 0"),
        (lambda: TrainConfig(precision="fp8"), "precision must be one of fp32, tf32, bf16, fp16, found 'fp8'"),
        (lambda: LossConfig(name="l1"), "loss.name must be one of relative_l2, area_mse"),
        (lambda: LossConfig(channel_weights={"t850": -1.0}), "loss.channel_weights.t850 must not be negative"),
        (lambda: LossConfig(crps_members=1), "loss.crps_members must be 2 or more, found 1"),
        (lambda: LossConfig(crps_alpha=1.5), r"loss.crps_alpha must lie in \[0, 1\], found 1.5"),
        (lambda: RolloutConfig(0), "rollout.steps must be a number of steps from 1 on"),
        (lambda: RolloutConfig({100: 2}), r"from training step 0 on as in .*, found \{100: 2\}"),
        (lambda: RolloutConfig("two"), "rollout.steps must be"),
        (lambda: RolloutConfig(2, backprop_steps=0), "rollout.backprop_steps must be above 0"),
        (lambda: ParallelConfig(strategy="zero"), "parallel.strategy must be one of ddp, fsdp, hybrid"),
        (lambda: ParallelConfig(recompute=1.5), r"parallel.recompute must lie in \[0, 1\], found 1.5"),
        (lambda: ParallelConfig(compile="fast"), "parallel.compile must be one of default, reduce-overhead"),
        (lambda: OptimConfig(schedule="staircase"), "optim.schedule must be one of cosine, one_cycle, constant"),
        (lambda: OptimConfig(ema_decay=1.0), r"optim.ema_decay must lie in \[0, 1\)"),
        (lambda: TrainConfig(trackers="notebook"), "trackers must be one of tensorboard, wandb, mlflow"),
        (lambda: TrainConfig(loss=LossConfig("crps")), "give the model noise with model.noise_channels=1"),
        (lambda: TrainConfig(backbone="b", model=ModelConfig(target="residual")), "set model.target=direct"),
        (lambda: TrainConfig(steps=0), "steps must be above 0"),
        (lambda: TrainConfig(validation_samples=0), "validation_samples must be above 0"),
        (lambda: TrainConfig(keep_checkpoints=0), "keep_checkpoints must be above 0"),
        (lambda: TrainConfig(seed=-1), "seed must not be negative"),
        (lambda: ForecastConfig(), "name the initial times: init_times="),
        (lambda: ForecastConfig(init_start="2026-08-01"), "init_start and init_end go together"),
        (lambda: ForecastConfig(init_times=["2026-08-01", "x"]), "init_times must be a UTC time"),
        (lambda: ForecastConfig(init_times="2026-08-01", lead_hours=0), "lead_hours must be above 0"),
        (lambda: ForecastConfig(init_start="2026-08-02", init_end="2026-08-01"), "init_end .* lies before init_start"),
        (lambda: VerifyConfig(channels=[2]), "channels must be a name"),
        (lambda: ImportWeightsConfig(hard_thresholding_fraction=2), r"must lie in \(0, 1\], found 2"),
        (lambda: ImportWeightsConfig(image_size=[720]), r"image_size must be \[rows, columns\], found \[720\]"),
    ],
)
def test_what_types_cannot_say_is_refused_by_key(make: Callable[[], object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make()


def test_the_defaults_are_the_published_network() -> None:
    model = ModelConfig()
    sizes = (model.patch_size, model.embed_dim, model.depth, model.mlp_ratio)
    assert sizes == (8, 768, 12, 4.0)
    assert model.target == "direct"
    assert model.mixer == AFNOConfig(num_blocks=8, sparsity_threshold=0.01, modes=ModesConfig("fourcastnet"))


def test_every_mixer_goes_by_its_own_name() -> None:
    assert list(MIXERS) == ["afno", "fno", "gfnet", "aff", "ffc", "parc", "long_conv", "none"]
    assert all(issubclass(config, MixerConfig) and config().name == name for name, config in MIXERS.items())


def test_every_verb_has_a_schema_and_a_configuration() -> None:
    assert SCHEMAS.keys() == VERBS.keys()
    assert {path.stem for path in conf_directory().glob("*.yaml")} == SCHEMAS.keys() | {"base"}
    assert all(fields(schema) for schema in SCHEMAS.values())


def test_gaussian_noise_is_published_where_nothing_else_makes_members_differ() -> None:
    """As Hydra composes it, where null must survive until all keys are known."""
    needed = ("checkpoint=a", "init_times=2026-08-10")
    given = {
        (): 0.3,
        ("ensemble.correlated.amplitude=0.1",): 0.0,
        ("ensemble.bred.amplitude={t: 0.1}",): 0.0,
        ("ensemble.bred.amplitude={t: 0}",): 0.3,
        ("ensemble.lagged=[6]",): 0.0,
        ("ensemble.dropout=true",): 0.0,
        ("ensemble.lagged=[6]", "ensemble.gaussian.amplitude=0.2"): 0.2,
    }
    found = {overrides: composed("forecast", *needed, *overrides) for overrides in given}
    assert {overrides: config.ensemble.gaussian_amplitude for overrides, config in found.items()} == given  # type: ignore[attr-defined]
