"""Checkpoints: written whole, found by their run, read back the same, refused where damaged."""

import io
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny import CARD, CHANNELS, GRID, model_config

from fourcast import sharded
from fourcast.checkpoint import (
    AVERAGE,
    MODEL,
    Card,
    build,
    find_checkpoint,
    load_card,
    load_model,
    load_tensors,
    save_checkpoint,
    write_card,
)
from fourcast.errors import InputError
from fourcast.files import write_json
from fourcast.mixer_config import AFNOConfig, ModesConfig

AFNO = {"name": "afno", "num_blocks": 2}


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    save_checkpoint(tmp_path / "model", build(CARD), CARD)
    return tmp_path / "model"


@pytest.mark.parametrize("card", [
    CARD,
    replace(CARD, model=model_config(), step_scale=None, channels=None, mean=None, std=None),
    replace(CARD, kind="precipitation", model=model_config(), out_channels=1),
])  # fmt: skip
def test_what_is_saved_is_what_is_loaded(tmp_path: Path, card: Card) -> None:
    model = build(card).eval()
    save_checkpoint(tmp_path / "model", model, card)
    assert load_card(tmp_path / "model") == card
    x = torch.randn(1, 2, 8, 16)
    loaded = load_model(tmp_path / "model")
    assert not loaded.training
    assert torch.equal(loaded(x), model(x))


def test_the_files_are_those_of_the_description(checkpoint: Path) -> None:
    assert {path.name for path in checkpoint.iterdir()} == {"checkpoint.json", "tensors"}
    assert json.loads((checkpoint / "checkpoint.json").read_text())["channels"] == list(CHANNELS)
    assert CARD.grid.same_as(GRID)


def test_a_failed_save_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        save_checkpoint(tmp_path / "model", build(CARD), replace(CARD, provenance={"not": object()}))
    assert list(tmp_path.iterdir()) == []


def test_a_run_means_its_best_else_its_newest_checkpoint(tmp_path: Path) -> None:
    for step in (2, 10, 4):
        save_checkpoint(tmp_path / "checkpoints" / f"step_{step:08d}", build(CARD), CARD)
    (tmp_path / "checkpoints/step_00000011.partial").mkdir()
    (tmp_path / "checkpoints/step_00000011.partial/checkpoint.json").touch()
    (tmp_path / "checkpoints/step_00000012").mkdir()
    assert find_checkpoint(tmp_path).name == "step_00000010"
    write_json(tmp_path / "best.json", {"checkpoint": "step_00000004", "validation_loss": 0.1})
    assert find_checkpoint(tmp_path).name == "step_00000004"
    assert find_checkpoint(tmp_path / "checkpoints/step_00000002").name == "step_00000002"


def test_where_there_is_no_checkpoint_it_says_how_to_make_one(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent"):
        with pytest.raises(InputError, match=r"there is no checkpoint in .*; train one with fourcast train or import"):
            load_model(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fourcast_checkpoint": 4}, "no fourcast checkpoint of format 1 to 3"),
        ({"surprise": 1}, "does not describe a model: .*surprise"),
        ({"model": {"patch_size": 4, "mixer": AFNO, "wings": 2}}, "does not describe a model: .*wings"),
        ({"model": {"patch_size": "four", "mixer": AFNO}}, "does not describe a model: .*four"),
        ({"model": {"patch_size": -4, "mixer": AFNO}}, "model.patch_size must be above 0"),
        ({"model": {"patch_size": 3, "mixer": AFNO}}, "model.patch_size=3 does not divide the 8×16 grid"),
        ({"model": {"depth": 2, "patch_size": 4, "embed_dim": 16, "mixer": AFNO}}, "do not fit its checkpoint.json"),
        ({"model": {"patch_size": 4}}, "does not describe a model: 'mixer'"),
        ({"model": {"mixer": "afno"}}, "does not describe a model"),
        ({"model": {"mixer": {"num_blocks": 2}}}, "model.mixer.name must be one of afno, fno, .*, found None"),
        ({"model": {"mixer": {"name": "os.system"}}}, "model.mixer.name must be one of afno, .*, found 'os.system'"),
        ({"model": {"mixer": {"name": ["afno"]}}}, "does not describe a model"),
        ({"model": {"mixer": {"name": "gfnet", "num_blocks": 2}}}, "does not describe a model: .*num_blocks"),
    ],
)
def test_damaged_cards_are_named(checkpoint: Path, change: dict[str, object], message: str) -> None:
    card = checkpoint / "checkpoint.json"
    card.write_text(json.dumps(json.loads(card.read_text()) | change))
    with pytest.raises(InputError, match=message):
        load_model(checkpoint)


def test_a_card_names_no_python_object(checkpoint: Path) -> None:
    card = checkpoint / "checkpoint.json"
    record = json.loads(card.read_text())
    for place in (record["model"], record["model"]["mixer"]):
        place["_target_"] = "os.system"
        card.write_text(json.dumps(record))
        with pytest.raises(InputError, match="_target_"):
            load_model(checkpoint)
        del place["_target_"]


def test_a_card_of_format_1_is_read_as_afno(checkpoint: Path) -> None:
    card = checkpoint / "checkpoint.json"
    record = json.loads(card.read_text())
    assert record["fourcast_checkpoint"] == 3
    mixer = record["model"].pop("mixer")
    assert mixer.pop("name") == "afno"
    mixer["modes"]["hard_thresholding_fraction"] = 0.5
    record |= {"fourcast_checkpoint": 1, "model": record["model"] | mixer}
    card.write_text(json.dumps(record))
    half = AFNOConfig(num_blocks=2, modes=ModesConfig(hard_thresholding_fraction=0.5))
    assert load_card(checkpoint) == replace(CARD, model=replace(CARD.model, mixer=half))
    load_model(checkpoint)


def test_weights_of_older_formats_are_read(checkpoint: Path) -> None:
    """They lay in one file, as torch.save writes it."""
    expected = load_model(checkpoint).state_dict()
    torch.save(expected, checkpoint / "weights.pt")
    shutil.rmtree(checkpoint / "tensors")
    found = load_model(checkpoint).state_dict()
    assert [name for name, value in expected.items() if not torch.equal(found[name], value)] == []


def test_averaged_weights_come_first(tmp_path: Path) -> None:
    model = build(CARD)
    own = {MODEL + name: value for name, value in model.state_dict().items()}
    average = {AVERAGE + name: value.detach() + 1.0 for name, value in model.named_parameters()}
    sharded.write(tmp_path / "tensors", own | average | {"optimizer.x": torch.zeros(3)})
    write_card(tmp_path, CARD)
    found = load_model(tmp_path).state_dict()
    for name, value in model.state_dict().items():
        averaged = AVERAGE + name in average
        assert torch.equal(found[name], value + 1.0 if averaged else value), name


def test_damaged_files_are_named(checkpoint: Path) -> None:
    (weights,) = (checkpoint / "tensors").glob("*.distcp")
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(InputError, match=r"the weights in .* do not fit its checkpoint.json: .*tensors is damaged"):
        load_model(checkpoint)
    shutil.rmtree(checkpoint / "tensors")
    with pytest.raises(InputError, match=r"there is no file .*weights.pt"):
        load_model(checkpoint)
    torch.save(build(CARD).state_dict(), checkpoint / "weights.pt")
    (checkpoint / "weights.pt").write_bytes((checkpoint / "weights.pt").read_bytes()[:-100])
    with pytest.raises(InputError, match=r"weights.pt is not a readable torch file"):
        load_model(checkpoint)
    (checkpoint / "checkpoint.json").write_text('{"fourcast_checkpoint": 1, "kin')
    with pytest.raises(InputError, match=r"checkpoint.json is not readable as JSON"):
        load_card(checkpoint)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_any_damage_to_a_file_of_tensors_is_named(tmp_path: Path) -> None:
    """Whatever the bytes, reading gives tensors or one InputError."""
    torch.save({"a": torch.arange(50), "b": {"c": 1.5}}, tmp_path / "good.pt")
    good = (tmp_path / "good.pt").read_bytes()
    generator = torch.Generator().manual_seed(0)
    legacy = io.BytesIO()
    torch.save({"a": torch.arange(50)}, legacy, _use_new_zipfile_serialization=False)
    for position in torch.randint(len(good), (150,), generator=generator).tolist():
        damaged = bytearray(good if position % 2 else legacy.getvalue())
        damaged[position % len(damaged)] ^= 1 << (position % 8)
        (tmp_path / "bad.pt").write_bytes(damaged)
        try:
            assert isinstance(load_tensors(tmp_path / "bad.pt"), dict)
        except InputError:
            continue
