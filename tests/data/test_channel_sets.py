"""The published sets of channels, each a file that any verb can take."""

import pytest
from hydra.errors import ConfigCompositionException
from tiny import composed

from fourcast.compose import conf_directory
from fourcast.config import TrainConfig
from fourcast.data_config import IngestConfig
from fourcast.variables import CHANNEL_SETS, parse_channels
from fourcast.verify_config import VerifyConfig

FILES = sorted(path.stem for path in (conf_directory() / "channel_set").iterdir())
NEEDED = {"ingest": ["source=a.nc", "output=b"], "verify": ["forecast=a", "store=b", "output=c"]}


def test_every_set_has_its_file() -> None:
    assert sorted(CHANNEL_SETS) == FILES


@pytest.mark.parametrize("verb", NEEDED)
@pytest.mark.parametrize("name", FILES)
def test_a_file_lists_its_set_in_order(name: str, verb: str) -> None:
    config = composed(verb, *NEEDED[verb], f"+channel_set={name}")
    assert isinstance(config, IngestConfig | VerifyConfig)
    assert tuple(config.channels) == CHANNEL_SETS[name]
    assert tuple(channel.name for channel in parse_channels(config.channels)) == CHANNEL_SETS[name]


@pytest.mark.parametrize("name", FILES)
def test_training_takes_a_set_in_its_group(name: str) -> None:
    config = composed("train", "output=a", "data.store=b", f"+channel_set@data={name}")
    assert isinstance(config, TrainConfig)
    assert tuple(config.data.channels) == CHANNEL_SETS[name]


def test_a_set_may_be_named_instead_and_channels_listed_beside_a_file_win() -> None:
    named = composed("ingest", *NEEDED["ingest"], "channels=fourcastnet26")
    assert isinstance(named, IngestConfig)
    assert [channel.name for channel in parse_channels(named.channels)] == list(CHANNEL_SETS["fourcastnet26"])
    both = composed("ingest", *NEEDED["ingest"], "+channel_set=fourcastnet20", "channels=[t850]")
    assert isinstance(both, IngestConfig)
    assert both.channels == ["t850"]


def test_an_unknown_set_is_named() -> None:
    with pytest.raises(ConfigCompositionException, match="fourcastnet99"):
        composed("ingest", *NEEDED["ingest"], "+channel_set=fourcastnet99")
