"""Training losses against values worked out by hand."""

import numpy as np
import pytest
import torch
from torch import Tensor

from fourcast.errors import InputError
from fourcast.grid import Grid, area_weights
from fourcast.train.loss import Loss, almost_fair_crps, build_loss, channel_weights, huber, relative_l2
from fourcast.train_config import LossConfig
from fourcast.verify.area_means import whole
from fourcast.verify.conventions import CONVENTIONS
from fourcast.verify.scores import Fields, score

GRID = Grid(np.array([60.0, 0.0, -60.0]), np.array([0.0, 180.0]))
NAMES = ("relative_l2", "area_mse", "area_mae", "area_huber", "crps")
CHANNELS = ("t2m", "t850", "z850", "z500", "z250")


def built(name: str, scale: tuple[float, ...] = (1.0, 1.0), grid: Grid = GRID, **options: object) -> Loss:
    config = LossConfig(name=name, **options)  # type: ignore[arg-type]
    return build_loss(config, CHANNELS[: len(scale)], grid, torch.tensor(scale))


def round_the_globe(columns: int) -> Grid:
    return Grid(GRID.latitude, 360.0 / columns * np.arange(columns))


def test_relative_l2_is_a_mean_over_samples() -> None:
    targets = torch.zeros(2, 2, 1, 2)
    targets[0], targets[1] = 1.0, 3.0
    predictions = targets.clone()
    predictions[0, 0, 0, 0] += 1.0  # an error of 1 against a norm of sqrt(4)
    predictions[1] *= 2  # an error as large as the norm
    assert relative_l2(predictions, targets).item() == pytest.approx((1 / 2 + 1) / 2)
    assert built("relative_l2") is relative_l2


@pytest.mark.parametrize(
    ("name", "of_six", "of_three"),
    # Huber's with delta 2 is linear from there on: 2 · (6 − 1) and 2 · (3 − 1).
    [("area_mse", 36.0, 9.0), ("area_mae", 6.0, 3.0), ("area_huber", 10.0, 4.0), ("crps", 6.0, 3.0)],
)
def test_errors_are_weighed_by_area_in_units_of_a_typical_change(name: str, of_six: float, of_three: float) -> None:
    loss = built(name, (1.0, 2.0), huber_delta=2.0)
    targets = torch.zeros(1, 2, 3, 2)
    # Rows reach from pole to 30 degrees, 30 to −30, −30 to pole: shares of the area 1/4, 1/2, 1/4.
    for row, share in enumerate((1 / 4, 1 / 2, 1 / 4)):
        predictions = targets.clone()
        predictions[0, 0, row] = 6.0
        assert loss(predictions, targets).item() == pytest.approx(of_six * share / 2, rel=1e-6)
    predictions = targets.clone()
    predictions[0, 1] = -6.0  # three typical changes of this channel
    assert loss(predictions, targets).item() == pytest.approx(of_three / 2, rel=1e-6)


def test_huber_is_half_a_square_that_goes_on_as_a_line() -> None:
    errors = torch.tensor([0.0, 1.0, -1.0, 2.0, 3.0, -5.0], requires_grad=True)
    values = huber(errors, 2.0)
    assert values.tolist() == [0.0, 0.5, 0.5, 2.0, 4.0, 8.0]
    values.sum().backward()
    assert errors.grad is not None
    assert errors.grad.tolist() == [0.0, 1.0, -1.0, 2.0, 2.0, -2.0]


@pytest.mark.parametrize("name", NAMES)
def test_a_perfect_forecast_costs_nothing_and_has_a_finite_gradient(name: str) -> None:
    targets = torch.randn(2, 2, 3, 2)
    predictions = targets.repeat_interleave(3, 0).requires_grad_()
    value = built(name, spectral_amplitude=0.5)(predictions, targets)
    value.backward()
    assert value.item() == 0
    assert predictions.grad is not None
    assert predictions.grad.abs().max() == 0


@pytest.mark.parametrize("columns", [1, 5, 8])
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", NAMES)
def test_gradients_flow_in_any_shape_and_losses_are_fp32(name: str, columns: int, precision: torch.dtype) -> None:
    grid = Grid(GRID.latitude, 45.0 * np.arange(columns))
    predictions = torch.randn(2 * 3, 2, 3, columns).to(precision).requires_grad_()
    value = built(name, grid=grid)(predictions, torch.randn(2, 2, 3, columns).to(precision))
    value.backward()
    assert value.dtype == torch.float32
    assert value.shape == ()
    assert predictions.grad is not None
    assert torch.isfinite(predictions.grad).all()
    assert (predictions.grad.flatten(1).abs().amax(1) > 0).all()


@pytest.mark.parametrize("name", ["relative_l2", "area_mse", "area_mae", "area_huber"])
def test_members_that_are_not_scored_together_count_alike(name: str) -> None:
    torch.manual_seed(0)
    loss, targets, predictions = built(name), torch.randn(2, 2, 3, 2), torch.randn(2, 3, 2, 3, 2)
    alone = torch.stack([loss(predictions[:, member], targets) for member in range(3)]).mean()
    torch.testing.assert_close(loss(predictions.flatten(0, 1), targets), alone)


def test_fields_of_another_shape_are_not_broadcast() -> None:
    with pytest.raises(AssertionError):
        built("area_mse")(torch.zeros(2, 2, 3, 2), torch.zeros(2, 2, 1, 2))


@pytest.mark.parametrize(
    ("values", "alpha", "expected"),
    [
        # M = 2, y = 0: mean |x| = 2; |x − x'| / 2 = 2 for the fair one, which is blind to how far apart they lie;
        # ε = (1 − 0.95) / 2 = 0.025 gives 2 − 0.975 · 2; the biased one has 2 / M² · |x − x'| / 2 = 1.
        ((-1.0, 3.0), 1.0, 0.0),
        ((-1.0, 3.0), 0.95, 0.05),
        ((-1.0, 3.0), 0.0, 1.0),
        # M = 3: mean |x| = 7/3; pairs 3, 2, 1 have the mean 2: fair 7/3 − 1; biased 7/3 − 2 · 6 / (2 · 9).
        ((4.0, 1.0, 2.0), 1.0, 4 / 3),
        ((4.0, 1.0, 2.0), 0.0, 5 / 3),
        ((-2.5,), 0.95, 2.5),
    ],
)
def test_almost_fair_crps_by_hand(values: tuple[float, ...], alpha: float, expected: float) -> None:
    errors = torch.tensor(values).reshape(1, -1, 1, 1, 1)
    assert almost_fair_crps(errors, alpha).item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("members", [2, 3, 5])
@pytest.mark.parametrize("alpha", [0.0, 0.7, 1.0])
def test_almost_fair_crps_is_its_definition(members: int, alpha: float) -> None:
    x = np.random.default_rng(members).normal(size=members)
    skill = np.mean(np.abs(x))
    differences = np.abs(x[:, None] - x).sum()
    fair = skill - differences / (2 * members * (members - 1))
    biased = skill - differences / (2 * members**2)
    found = almost_fair_crps(torch.from_numpy(x).reshape(1, -1, 1, 1, 1), alpha)
    assert found.item() == pytest.approx(alpha * fair + (1 - alpha) * biased)


def test_no_member_may_go_astray() -> None:
    """The fair score cannot tell how far out a member lies once another lies on the other side of the truth."""
    gradients = []
    for alpha in (1.0, 0.95):
        errors = torch.tensor([-1.0, 3.0]).reshape(1, 2, 1, 1, 1).requires_grad_()
        almost_fair_crps(errors, alpha).sum().backward()
        assert errors.grad is not None
        gradients.append(errors.grad.flatten().tolist())
    # sign(x) / 2 − (1 − ε) sign(x − x') / 2 = ε / 2, towards the truth on either side.
    assert gradients[0] == [0.0, 0.0]
    assert gradients[1] == pytest.approx([-0.0125, 0.0125], rel=1e-4)


def test_crps_of_the_fair_kind_is_that_of_verification() -> None:
    rng = np.random.default_rng(0)
    members, targets = (rng.normal(size=shape).astype(np.float32) for shape in ((2, 4, 1, 3, 8), (2, 1, 3, 8)))
    means, convention = whole(area_weights(GRID.latitude), 8), CONVENTIONS["weatherbench2"]
    fields = [Fields(targets[b, 0], None, {}, {"ensemble": members[b, :, 0]}) for b in range(2)]
    scored = [score(each, means, convention, "refuse", energy=False) for each in fields]
    scores = [found.statistics["fair_crps"]["ensemble"] for found in scored]
    loss = built("crps", (0.5,), round_the_globe(8), crps_alpha=1.0)
    found = loss(torch.from_numpy(members).flatten(0, 1), torch.from_numpy(targets))
    assert found.item() == pytest.approx(np.mean(scores) / 0.5, rel=1e-5)


def amplitude_part(predictions: Tensor, targets: Tensor, grid: Grid, scale: tuple[float, ...] = (1.0,)) -> float:
    """What the error of amplitudes adds to the mean square error."""
    plain, both = (built("area_mse", scale, grid, spectral_amplitude=weight) for weight in (0.0, 2.0))
    return (both(predictions, targets) - plain(predictions, targets)).item() / 2


@pytest.mark.parametrize(("columns", "wave"), [(8, 0), (8, 1), (8, 3), (8, 4), (7, 1), (7, 3)])
def test_the_amplitude_of_a_wave_is_its_mean_square(columns: int, wave: int) -> None:
    along = torch.cos(2 * torch.pi * wave * torch.arange(columns) / columns)
    targets = 3.0 * along.expand(1, 1, 3, columns)
    # A wave of amplitude 3 became one of 1: its mean square error is that of a wave of amplitude 2.
    expected = (4.0 if wave in (0, columns / 2) else 2.0) / 0.5**2
    assert amplitude_part(targets / 3, targets, round_the_globe(columns), (0.5,)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("columns", [7, 8])
def test_the_error_of_amplitudes_does_not_see_where_a_wave_lies(columns: int) -> None:
    torch.manual_seed(0)
    targets = torch.randn(2, 2, 3, columns)
    moved = torch.roll(targets, 2, dims=-1)
    assert amplitude_part(moved, targets, round_the_globe(columns), (1.0, 2.0)) == pytest.approx(0.0, abs=1e-5)


def test_the_error_of_amplitudes_is_no_more_than_the_mean_square_error() -> None:
    torch.manual_seed(0)
    grid = round_the_globe(9)
    predictions, targets = torch.randn(2, 2, 3, 9), torch.randn(2, 2, 3, 9)
    whole = built("area_mse", (1.0, 2.0), grid)(predictions, targets).item()
    assert 0.1 * whole < amplitude_part(predictions, targets, grid, (1.0, 2.0)) < whole
    # Of fields that are constant along rows the amplitude is all there is, rows weighed by area as there.
    rows = torch.randn(2, 2, 3, 1).abs().expand(2, 2, 3, 9)
    whole = built("area_mse", (1.0, 2.0), grid)(3 * rows, rows).item()
    assert amplitude_part(3 * rows, rows, grid, (1.0, 2.0)) == pytest.approx(whole, rel=1e-5)


def test_the_error_of_amplitudes_is_one_of_every_member() -> None:
    """Members with a wave of amplitude 1 and 3 have the right one on the mean; each of them is wrong by 1."""
    wave = torch.cos(torch.pi / 4 * torch.arange(8)).expand(1, 1, 3, 8)
    predictions = torch.cat([wave, 3 * wave])
    plain, both = (built("crps", (1.0,), round_the_globe(8), spectral_amplitude=a) for a in (0.0, 1.0))
    added = both(predictions, 2 * wave) - plain(predictions, 2 * wave)
    assert added.item() == pytest.approx(1 / 2, rel=1e-5)


def test_amplitudes_need_whole_circles() -> None:
    region = Grid(GRID.latitude, np.array([10.0, 20.0, 30.0]))
    with pytest.raises(InputError, match=r"loss.spectral_amplitude needs rows that go round the globe, .*set it 0"):
        built("area_mse", grid=region, spectral_amplitude=0.1)


def test_the_flattest_field_has_a_gradient_of_amplitudes_too() -> None:
    predictions = torch.zeros(1, 1, 3, 8, requires_grad=True)
    loss = built("area_mse", (1.0,), round_the_globe(8), spectral_amplitude=1.0)
    loss(predictions, torch.randn(1, 1, 3, 8)).backward()
    assert predictions.grad is not None
    assert torch.isfinite(predictions.grad).all()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, [1, 1, 1, 1, 1]),
        ({"z": 2.0}, [1, 1, 2, 2, 2]),
        ({"z": 2.0, "z500": 0.5, "t850": 3.0}, [1, 3, 2, 0.5, 2]),
        ({"t2m": 0.0}, [0, 1, 1, 1, 1]),
    ],
)
def test_weights_go_by_name_and_only_their_ratios_count(given: dict[str, float], expected: list[float]) -> None:
    found = channel_weights(LossConfig(name="area_mse", channel_weights=given), CHANNELS)
    np.testing.assert_allclose(found, np.array(expected) / np.mean(expected))


def test_weights_by_pressure_leave_the_surface_alone() -> None:
    config = LossConfig(name="crps", level_weights="pressure")
    # Pressures 850, 850, 500 and 250 have the mean 612.5.
    expected = [1.0, 850 / 612.5, 850 / 612.5, 500 / 612.5, 250 / 612.5]
    np.testing.assert_allclose(channel_weights(config, CHANNELS), expected)
    assert channel_weights(config, ("t2m", "msl")).tolist() == [1.0, 1.0]
    # Factors come on top: 0.5, 1.388, 1.388, … divided by their mean, 4.5 / 5.
    halved = LossConfig(name="crps", level_weights="pressure", channel_weights={"t2m": 0.5})
    np.testing.assert_allclose(channel_weights(halved, CHANNELS), np.array([0.5, *expected[1:]]) / 0.9)


@pytest.mark.parametrize("name", ["area_mse", "area_mae", "area_huber", "crps"])
def test_a_channel_counts_by_its_weight(name: str) -> None:
    targets = torch.zeros(1, 2, 3, 2)
    predictions = torch.stack([torch.ones(3, 2), torch.zeros(3, 2)])[None]  # an error in the first channel only
    plain, weighted = built(name), built(name, channel_weights={"t2m": 3.0})
    # Weights 3 and 1 are 1.5 and 0.5 with the mean 1.
    assert weighted(predictions, targets).item() == pytest.approx(1.5 * plain(predictions, targets).item())
    flat = {"spectral_amplitude": 1.0, "channel_weights": {"t2m": 3.0}}
    added = built(name, **flat)(predictions, targets) - weighted(predictions, targets)
    assert added.item() == pytest.approx(1.5 / 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"channel_weights": {"q": 1.0, "t2m": 1.0}}, "q is no channel or variable of the model, .* t2m, t850$"),
        ({"channel_weights": {"t500": 1.0}}, "loss.channel_weights: t500 is no channel"),
        ({"channel_weights": {"t": 0.0, "t2m": 0.0}}, "are 0 for every channel"),
        ({"name": "relative_l2", "channel_weights": {"t2m": 2.0}}, "takes no loss.channel_weights"),
        ({"name": "relative_l2", "level_weights": "pressure"}, "or choose loss.name=area_mse"),
    ],
)
def test_weights_that_cannot_be_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        built(**({"name": "area_mse"} | options))  # type: ignore[arg-type]
