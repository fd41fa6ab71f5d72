"""A checkpoint goes out in the published format and comes back unchanged; what that format cannot hold is refused."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch

from fourcast.checkpoint import Card, build, load_card, load_model, save_checkpoint
from fourcast.config import ExportWeightsConfig, ImportWeightsConfig
from fourcast.errors import InputError
from fourcast.export_weights import export_weights
from fourcast.import_weights import import_weights
from fourcast.mixer_config import AFNOConfig, GFNetConfig, ModesConfig

MIXER = AFNOConfig(num_blocks=2, modes=ModesConfig(hard_thresholding_fraction=0.5))


def card(kind: str = "forecast", **changes: Any) -> Card:
    model = tiny.model_config(**({"mixer": MIXER} | changes))
    return replace(tiny.CARD, kind=kind, model=model, out_channels=2 if kind == "forecast" else 1, step_scale=None)


def checkpoint(folder: Path, of: Card) -> Path:
    """A checkpoint of random weights, those that a fresh model sets to zero or one included."""
    model = build(of)
    generator = torch.Generator().manual_seed(3)
    for tensor in model.state_dict().values():
        tensor.copy_(torch.randn(tensor.shape, generator=generator))
    save_checkpoint(folder / "checkpoint", model, of)
    return folder / "checkpoint"


def export(source: Path, **changes: Any) -> Path:
    given = {"checkpoint": str(source), "output": str(source.parent / "exported.ckpt")}
    return export_weights(ExportWeightsConfig(**(given | changes)))


def again(source: Path, name: str, fraction: float) -> Path:
    output = str(source.parent / name)
    return import_weights(ImportWeightsConfig(source=str(source), output=output, hard_thresholding_fraction=fraction))


@pytest.mark.parametrize("kind", ["forecast", "precipitation"])
def test_there_and_back_nothing_changes(tmp_path: Path, kind: str) -> None:
    source = checkpoint(tmp_path, card(kind))
    exported = export(source)
    returned = again(exported, "returned", 0.5)
    assert load_card(returned).model == load_card(source).model
    assert load_card(returned).kind == kind
    ours, theirs = load_model(source), load_model(returned)
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    for name, tensor in ours.state_dict().items():
        assert torch.equal(tensor, theirs.state_dict()[name]), name
    x = torch.randn(3, 2, 8, 16, generator=torch.Generator().manual_seed(4))
    with torch.inference_mode():
        assert torch.equal(ours(x), theirs(x))
    second = export(returned, output=str(tmp_path / "second.ckpt"))
    first = torch.load(exported, weights_only=True)
    assert list(first["model_state"]) == list(torch.load(second, weights_only=True)["model_state"])


@pytest.mark.parametrize("name", ["fcn_small", "fcn_precip_small"])
def test_published_weights_come_out_as_they_went_in(reference: Path, tmp_path: Path, name: str) -> None:
    given = torch.load(reference / f"{name}.tar", weights_only=True)
    size = [int(n) for n in np.load(reference / f"{name}.npz")["img"]]
    config = ImportWeightsConfig(source=str(reference / f"{name}.tar"), output=str(tmp_path / "c"), image_size=size)
    written = torch.load(export(import_weights(config)), weights_only=True)
    assert set(written) <= set(given)
    assert written["model_state"].keys() == given["model_state"].keys()
    for key, tensor in given["model_state"].items():
        assert torch.equal(written["model_state"][key], tensor), key


def test_the_file_has_the_published_form(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = checkpoint(tmp_path, card())
    output = export(source)
    found = torch.load(output, weights_only=True)
    assert (found["iters"], found["epoch"], list(found)) == (0, 0, ["iters", "epoch", "model_state"])
    assert all(name.startswith("module.") for name in found["model_state"])
    cut = {name[7:]: tensor for name, tensor in found["model_state"].items()}
    assert cut["pos_embed"].shape == (1, 8, 16)
    assert cut["blocks.0.filter.w1"].shape == (2, 2, 8, 8)
    assert capsys.readouterr().out.splitlines() == [
        f"exported {source}: forecast model, {sum(tensor.numel() for tensor in cut.values()):,} numbers",
        "  build it with img_size=(8, 16), patch_size=(4, 4), in_chans=2, out_chans=2, embed_dim=16, depth=1, "
        "mlp_ratio=4.0, num_blocks=2, sparsity_threshold=0.01, hard_thresholding_fraction=0.5",
        "  the file holds no channel names and no statistics",
        f"  wrote {output}",
    ]


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"target": "residual"}, "was trained with model.target=residual; the published code takes the network's output"),
    ({"mixer": GFNetConfig()}, "mixes with gfnet; the published format knows afno only"),
    ({"mixer": AFNOConfig(num_blocks=2, modes=ModesConfig("full"))}, "modes by model.mixer.modes.policy=full; the"),
    ({"noise_channels": 1}, "sees model.noise_channels=1 beside the state; the published network sees the state alone"),
]


@pytest.mark.parametrize(("changes", "message"), REFUSED)
def test_what_the_published_code_cannot_compute_is_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    of = card(**changes)
    of = replace(of, step_scale=[1.0, 1.0] if of.model.target == "residual" else None)
    with pytest.raises(InputError, match=message):
        export(checkpoint(tmp_path, of))
    assert not list(tmp_path.glob("exported*"))


def test_outputs_that_exist_are_replaced_only_when_asked(tmp_path: Path) -> None:
    source = checkpoint(tmp_path, card())
    output = export(source)
    output.write_bytes(b"precious")
    with pytest.raises(InputError, match=r"exported.ckpt already exists; pass overwrite=true"):
        export(source)
    assert output.read_bytes() == b"precious"
    export(source, overwrite=True)
    assert "model_state" in torch.load(output, weights_only=True)
    with pytest.raises(InputError, match=r"is a folder; name a file, as in output=.*backbone.ckpt"):
        export(source, output=str(tmp_path), overwrite=True)
    with pytest.raises(InputError, match="there is no checkpoint in"):
        export(tmp_path / "absent", output=str(tmp_path / "other.ckpt"))


def test_a_failure_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(content: object, path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    source = checkpoint(tmp_path, card())
    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="No space left"):
        export(source)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]


def test_the_best_checkpoint_of_a_training_is_exported(tmp_path: Path) -> None:
    run = tmp_path / "run"
    of = card()
    for step in (1, 2):
        save_checkpoint(run / "checkpoints" / f"step_0000000{step}", build(of), of)
    exported = torch.load(export(run), weights_only=True)
    newest = load_model(run / "checkpoints" / "step_00000002").state_dict()
    assert torch.equal(exported["model_state"]["module.pos_embed"], newest["pos_embed"])
