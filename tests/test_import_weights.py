"""Published weights become checkpoints, and nothing else does."""

import io
import json
import pickle
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fourcast.checkpoint import load_card, load_model
from fourcast.config import ImportWeightsConfig, ModelConfig
from fourcast.errors import InputError
from fourcast.forecast.forecaster import load_forecaster
from fourcast.import_weights import import_weights
from fourcast.mixer_config import AFNOConfig
from fourcast.models.build import build_network
from fourcast.variables import CHANNEL_SETS

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
    assert "to forecast   import it with channels=, means=, stds=" in capsys.readouterr().out
    with pytest.raises(InputError, match="knows no channel names or statistics; import the weights again"):
        load_forecaster(output, torch.device("cpu"))


@pytest.mark.parametrize(
    ("count", "at"), [(20, {5: "t850", 19: "tcwv"}), (26, {20: "u100m", 25: "t250"}), (34, {26: "u100", 33: "t900"})]
)
def test_the_published_channels_are_known_by_their_number(tmp_path: Path, count: int, at: dict[int, str]) -> None:
    model = ModelConfig(patch_size=4, embed_dim=8, depth=1, mixer=AFNOConfig(num_blocks=2))
    torch.save(build_network(model, (count, count), (8, 16)).state_dict(), tmp_path / "weights.pt")
    channels = load_card(import_weights(config(tmp_path / "weights.pt"))).channels
    assert channels is not None
    assert channels == list(CHANNEL_SETS[f"fourcastnet{count}"])
    assert (channels[0], channels[14], *(channels[i] for i in at)) == ("u10m", "z500", *at.values())


def test_what_was_found_is_reported_and_recorded(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    loaded = torch.load(weights, weights_only=True)
    state = {name: value for name, value in loaded["model_state"].items() if "norm.bias" not in name}
    state["module.head.weight"] = state["module.head.weight"].half()
    torch.save(loaded | {"model_state": state}, weights)
    np.save(tmp_path / "means.npy", np.zeros(3))
    output = import_weights(config(weights, channels=CHANNELS, means=str(tmp_path / "means.npy")))
    record = load_card(output).provenance
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        f"imported {weights}",
        "  form          torch file with model_state",
        "  kind          forecast",
        "  parameters    1,200",
        "  grid          8×16 (from the number of patches, as 1:2)",
        "  patch         2×2",
        "  width, depth  8, 1",
        "  MLP           32 hidden channels",
        "  mixer         AFNO, 2 blocks, sparsity_threshold 0.01",
        "  fraction      1.0 of the modes kept (from the configuration)",
        "  channels      3 → 3: t2m, z500, u10m",
        "  stripped      module from 17 names",
        "  ignored       iters",
        "  filled        norm.bias (never called)",
        "  converted     1 of 17 from float16",
        f"  sha256        {record['sha256']}",
        "  to forecast   import it with stds=",
        f"  wrote {output}",
    ]
    assert record == {
        "imported_from": "backbone.ckpt", "sha256": record["sha256"], "form": "torch file",
        "grid_from": "the number of patches, as 1:2", "fraction_from": "the configuration",
        "found_under": "model_state", "ignored": "iters", "stripped": "module from 17 names",
        "filled": "norm.bias (never called)", "converted": "1 of 17 from float16",
    }  # fmt: skip


def mdlus(path: Path, content: object, form: str = "zip", **changes: object) -> Path:
    """An archive as PhysicsNeMo writes it, around ``content``; changes of the arguments that fit ``weights``."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    given = {"inp_shape": [8, 16], "in_channels": 3, "out_channels": 3, "patch_size": [2, 2], "embed_dim": 8,
             "depth": 1, "mlp_ratio": 4.0, "num_blocks": 2, "hard_thresholding_fraction": 1.0}  # fmt: skip
    arguments = {"__name__": "AFNO", "__module__": "physicsnemo.models.afno.afno", "__args__": {**given, **changes}}
    members = {"model.pt": buffer.getvalue(), "args.json": json.dumps(arguments).encode(), "metadata.json": b"{}"}
    if form == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name, text in members.items():
                archive.writestr(name, text)
        return path
    with tarfile.open(path, "w") as archive_of_tar:
        for name, text in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(text)
            archive_of_tar.addfile(entry, io.BytesIO(text))
    return path


def bare(weights: Path) -> dict[str, torch.Tensor]:
    """The tensors of ``weights`` as PhysicsNeMo names them."""
    state = torch.load(weights, weights_only=True)["model_state"]
    tensors = {name.removeprefix("module."): value for name, value in state.items()}
    return {name: value for name, value in tensors.items() if not name.startswith("norm.")}


@pytest.mark.parametrize("form", ["zip", "tar"])
@pytest.mark.parametrize("fraction", [1.0, 0.5])
def test_archives_of_physicsnemo_give_what_plain_weights_give(
    weights: Path, tmp_path: Path, form: str, fraction: float
) -> None:
    content = bare(weights) | {"device_buffer": torch.empty(0)}
    source = mdlus(tmp_path / "fcn.mdlus", content, form, hard_thresholding_fraction=fraction)
    plain = import_weights(config(weights, hard_thresholding_fraction=fraction, output=str(tmp_path / "plain")))
    found = import_weights(config(source))
    x = torch.randn(2, 3, 8, 16, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        torch.testing.assert_close(load_model(found)(x), load_model(plain)(x), rtol=0, atol=0)
    record = load_card(found).provenance
    assert load_card(found).model == load_card(plain).model
    assert (record["form"], record["fraction_from"]) == (f".mdlus ({form})", "args.json")
    assert (record["ignored"], record["grid_from"]) == ("device_buffer", "args.json")


def test_an_archive_says_what_no_shape_tells(tmp_path: Path) -> None:
    model = ModelConfig(patch_size=2, embed_dim=8, depth=1, mixer=AFNOConfig(num_blocks=2))
    state = build_network(model, (3, 3), (10, 12)).state_dict()
    source = mdlus(
        tmp_path / "fcn.mdlus", state, inp_shape=[10, 12], hard_thresholding_fraction=0.5, sparsity_threshold=0.03
    )
    refused(source, r"image_size=\[12, 10\], but args.json says inp_shape=\[10, 12\]", image_size=[12, 10])
    message = "hard_thresholding_fraction=0.7, but args.json says 0.5; leave it out"
    refused(source, message, hard_thresholding_fraction=0.7)
    card = load_card(import_weights(config(source, image_size=[10, 12], hard_thresholding_fraction=0.5)))
    assert (len(card.latitude), len(card.longitude)) == (10, 12)
    assert isinstance(card.model.mixer, AFNOConfig)
    assert card.model.mixer.sparsity_threshold == 0.03
    assert card.model.mixer.modes.hard_thresholding_fraction == 0.5


def test_archives_that_contradict_themselves_are_refused(weights: Path, tmp_path: Path) -> None:
    tensors = bare(weights)
    refused(mdlus(tmp_path / "a.mdlus", tensors, depth=2), "args.json says depth=2, the weights are those of depth=1")
    refused(mdlus(tmp_path / "b.mdlus", tensors, inp_shape=[8, 8]), r"image_size=\[8, 8\] makes 16 patches")
    refused(mdlus(tmp_path / "c.mdlus", [tensors]), r"model.pt in .*c.mdlus holds a list, expected a dictionary")
    package = tmp_path / "fcn.zip"
    with zipfile.ZipFile(package, "w") as archive:
        archive.writestr("fcn/fcn.mdlus", b"")
    refused(package, "fcn.zip is an archive of fcn/fcn.mdlus: expected .*; unpack it and name the file of weights")


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


@pytest.mark.parametrize("form", ["zip", "tar"])
def test_code_in_an_archive_is_refused_unexecuted(tmp_path: Path, form: str) -> None:
    sprung = tmp_path / "sprung"
    source = mdlus(tmp_path / "fcn.mdlus", {"pos_embed": Trap(sprung)}, form)
    refused(source, r"model.pt in .*fcn.mdlus holds more than tensors and plain values and is refused")
    assert not sprung.exists()


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
    refused(weights, "do not fit the network that their shapes imply, .*: missing: blocks.0.norm2.weight")
    torch.save(tensors | {"module.head.weight": torch.zeros(13, 8)}, weights)
    refused(weights, "head.weight has 13 rows, expected a multiple of 4")
    torch.save(tensors | {"module.surprise": torch.zeros(2)}, weights)
    refused(weights, "do not fit .* unknown: surprise")
    torch.save({k: v * torch.inf for k, v in tensors.items()}, weights)
    refused(weights, "values that are not finite, in pos_embed")


def test_an_image_size_that_does_not_fit_is_refused(weights: Path) -> None:
    refused(weights, r"image_size=\[8, 8\] makes 16 patches, the weights have 32", image_size=[8, 8])


def test_a_model_with_fewer_channels_out_than_in_is_said_to_be_no_forecast(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = ModelConfig(patch_size=4, embed_dim=8, depth=1, mixer=AFNOConfig(num_blocks=2))
    torch.save(build_network(model, (3, 2), (8, 16)).state_dict(), tmp_path / "weights.pt")
    import_weights(config(tmp_path / "weights.pt", channels=CHANNELS))
    assert "to forecast   no: it gives 2 channels and takes 3" in capsys.readouterr().out


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
