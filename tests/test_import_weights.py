"""Published weights become checkpoints, and nothing else does."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fourcast.checkpoint import load_card, load_model
from fourcast.config import ImportWeightsConfig, ModelConfig
from fourcast.errors import InputError
from fourcast.forecast.rollout import load_forecaster
from fourcast.import_weights import import_weights
from fourcast.mixer_config import AFNOConfig
from fourcast.models.build import build_network

CHANNELS = ["t2m", "z500", "u10m"]


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A small network of three channels on 8×16, saved as the published ones are."""
    config = ModelConfig(patch_size=2, embed_dim=8, depth=1, mixer=AFNOConfig(num_blocks=2))
    tensors = build_network(config, (3, 3), (8, 16)).state_dict()
    path = tmp_path / "backbone.ckpt"
    torch.save({"iters": 3, "model_state": {f"module.{name}": value for name, value in tensors.items()}}, path)
    return path


def config(source: Path, **changes: Any) -> ImportWeightsConfig:
    given = {"source": str(source), "output": str(source.parent / "imported")}
    return ImportWeightsConfig(**(given | changes))


def refused(source: Path, message: str, **changes: Any) -> None:
    with pytest.raises(InputError, match=message):
        import_weights(config(source, **changes))
    assert [path.name for path in source.parent.glob("imported*")] == []


@pytest.mark.parametrize("name", ["fcn_small", "fcn_precip_small"])
def test_the_published_network_gives_the_published_output(reference: Path, tmp_path: Path, name: str) -> None:
    given = np.load(reference / f"{name}.npz")
    source = reference / f"{name}.tar"
    fraction, size = float(given["fraction"]), [int(n) for n in given["img"]]
    output = import_weights(
        config(source, output=str(tmp_path / "model"), hard_thresholding_fraction=fraction, image_size=size)
    )
    with torch.inference_mode():
        found = load_model(output)(torch.from_numpy(given["x"])).numpy()
    error = np.linalg.norm(found - given["y"]) / np.linalg.norm(given["y"])
    assert error < 1e-5


def test_the_checkpoint_forecasts_once_names_and_statistics_are_known(weights: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "means.npy", np.array([280.0, 54000, 0, 99]).reshape(1, 4, 1, 1))
    np.save(tmp_path / "stds.npy", np.array([10.0, 1500, 5, 1]).reshape(1, 4, 1, 1))
    named = {"means": str(tmp_path / "means.npy"), "stds": str(tmp_path / "stds.npy")}
    output = import_weights(config(weights, channels=CHANNELS, **named))
    forecaster = load_forecaster(output, torch.device("cpu"))
    assert forecaster.channels == tuple(CHANNELS)
    assert forecaster.center.ravel().tolist() == [280.0, 54000, 0]
    assert forecaster.scale.ravel().tolist() == [10.0, 1500, 5]
    card = load_card(output)
    assert card.latitude == [90, 67.5, 45, 22.5, 0, -22.5, -45, -67.5]
    assert card.longitude[:3] == [0, 22.5, 45]
    assert card.provenance["imported_from"] == "backbone.ckpt"
    assert len(card.provenance["sha256"]) == 64


def test_without_names_or_statistics_it_loads_and_says_that_it_cannot_forecast(
    weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = import_weights(config(weights))
    assert load_model(output)(torch.zeros(1, 3, 8, 16)).shape == (1, 3, 8, 16)
    assert "to forecast, import it with channels=, means=, stds=" in capsys.readouterr().out
    with pytest.raises(InputError, match="knows no channel names or statistics; import the weights again"):
        load_forecaster(output, torch.device("cpu"))


def test_twenty_channels_are_the_published_ones(tmp_path: Path) -> None:
    config_of_20 = ModelConfig(patch_size=4, embed_dim=8, depth=1, mixer=AFNOConfig(num_blocks=2))
    model = build_network(config_of_20, (20, 20), (8, 16))
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    channels = load_card(import_weights(config(tmp_path / "weights.pt"))).channels
    assert channels is not None
    assert (channels[0], channels[5], channels[14], channels[19]) == ("u10m", "t850", "z500", "tcwv")


class Trap:
    """Unpickling this would write a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("form", ["torch", "torch_legacy", "pickle"])
def test_code_in_a_weights_file_is_refused_unexecuted(tmp_path: Path, form: str) -> None:
    sprung, source = tmp_path / "sprung", tmp_path / "weights.tar"
    content = {"model_state": {"pos_embed": torch.zeros(1)}, "extra": Trap(sprung)}
    if form == "pickle":
        source.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, source, _use_new_zipfile_serialization=form == "torch")
    refused(source, "weights.tar holds more than tensors and plain values and is refused")
    assert not sprung.exists()
    torch.load(source, weights_only=False) if form != "pickle" else pickle.loads(source.read_bytes())
    assert sprung.exists(), "the trap does not work"


@pytest.mark.parametrize("kept", [0, 10, 500, 5000])
def test_truncated_files_are_refused(weights: Path, kept: int) -> None:
    weights.write_bytes(weights.read_bytes()[:kept])
    refused(weights, r"backbone.ckpt (is not a readable torch file|holds more than tensors)")


def test_files_that_are_no_weights_are_refused(weights: Path) -> None:
    weights.with_name("notes.txt").write_text("these are not weights\n")
    refused(weights.with_name("notes.txt"), "notes.txt")
    refused(weights.with_name("absent.tar"), "there is no file .*absent.tar")
    refused(weights.parent, "there is no file")
    torch.save([torch.zeros(3)], weights)
    refused(weights, "holds a list, expected a dictionary of tensors")
    torch.save({"epoch": 1}, weights)
    refused(weights, "not FourCastNet's AFNO weights")


def test_weights_that_do_not_fit_together_are_refused(weights: Path) -> None:
    tensors = torch.load(weights, weights_only=True)["model_state"]
    torch.save({k: v for k, v in tensors.items() if not k.endswith("norm2.weight")}, weights)
    refused(weights, r"(?s)does not fit the network its shapes imply.*Missing key.*norm2.weight")
    torch.save(tensors | {"module.head.weight": torch.zeros(13, 8)}, weights)
    refused(weights, r"(?s)does not fit.*size mismatch for head.weight")
    torch.save(tensors | {"module.surprise": torch.zeros(2)}, weights)
    refused(weights, r"(?s)does not fit.*surprise")


def test_channels_and_statistics_that_disagree_are_refused(weights: Path, tmp_path: Path) -> None:
    refused(weights, "channels names 2 channels, the weights take 3", channels=CHANNELS[:2])
    refused(weights, "unknown channel 'x'", channels=["t2m", "z500", "x"])
    path = tmp_path / "values.npy"
    refused(weights, r"means=.*values.npy is not a readable .npy file", means=str(path))
    for values, message in (
        ([1.0, 2.0], "holds 2 values, the weights take 3 channels"),
        ([1.0, np.nan, 2.0], "holds values that are not finite"),
        ([1.0, 0.0, 2.0], "or not above 0"),
    ):
        np.save(path, np.array(values))
        refused(weights, message, stds=str(path))
    np.save(path, np.array([Trap(tmp_path / "sprung")], dtype=object), allow_pickle=True)
    refused(weights, "is not a readable .npy file", means=str(path))
    assert not (tmp_path / "sprung").exists()


def test_an_existing_output_is_replaced_only_when_asked_and_only_a_checkpoint(weights: Path, tmp_path: Path) -> None:
    output = import_weights(config(weights))
    with pytest.raises(InputError, match="already exists; pass overwrite=true"):
        import_weights(config(weights))
    assert import_weights(config(weights, overwrite=True, channels=CHANNELS)) == output
    assert load_card(output).channels == CHANNELS
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.txt").touch()
    with pytest.raises(InputError, match="exists and is no checkpoint"):
        import_weights(config(weights, output=str(precious), overwrite=True))
    assert (precious / "thesis.txt").exists()
