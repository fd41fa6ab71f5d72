"""What Hydra composes a verb's configuration from: its schema, conf/, and a folder of the user's own."""

import os
from pathlib import Path

from hydra.core.config_search_path import ConfigSearchPath, SearchPathQuery
from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import MISSING, OmegaConf

from fourcast.config import (
    CalibrateConfig,
    ExportWeightsConfig,
    ForecastConfig,
    ImportWeightsConfig,
    PlanConfig,
    TrainConfig,
)
from fourcast.data_config import FetchConfig, IngestConfig, InspectConfig, SimulateConfig
from fourcast.doctor_config import DoctorConfig
from fourcast.errors import InputError
from fourcast.mixer_config import MIXERS
from fourcast.verify_config import ReportConfig, VerifyConfig

SCHEMAS: dict[str, type] = {
    "simulate": SimulateConfig,
    "fetch": FetchConfig,
    "ingest": IngestConfig,
    "inspect": InspectConfig,
    "plan": PlanConfig,
    "train": TrainConfig,
    "forecast": ForecastConfig,
    "calibrate": CalibrateConfig,
    "verify": VerifyConfig,
    "report": ReportConfig,
    "import-weights": ImportWeightsConfig,
    "export-weights": ExportWeightsConfig,
    "doctor": DoctorConfig,
}


def register_schemas() -> None:
    """Make every verb's schema known to Hydra as ``<verb>_schema``, and every mixer's as ``<name>_mixer_schema``.

    The mixer of a training is left open for conf/mixer/<name>.yaml to fill. Composing twice is harmless.
    Files of the folder FOURCAST_CONF come before those of conf/.
    """
    Plugins.instance().register(ConfFolder)
    store = ConfigStore.instance()
    for verb, schema in SCHEMAS.items():
        node = OmegaConf.structured(schema)
        if issubclass(schema, TrainConfig):
            node.model.mixer = MISSING
        store.store(name=f"{verb}_schema", node=node)
    for name, mixer in MIXERS.items():
        store.store(name=f"{name}_mixer_schema", node=mixer)


class ConfFolder(SearchPathPlugin):
    """Where Hydra looks first: FOURCAST_CONF names a folder laid out as conf/, which adds files to it or replaces them.

    Raises InputError where it names no folder.
    """

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Put the folder before conf/."""
        folder = os.environ.get("FOURCAST_CONF")
        if not folder:
            return
        if not Path(folder).is_dir():
            raise InputError(
                f"FOURCAST_CONF must name a folder of YAML files laid out as conf/, found {folder!r}, which is none; "
                "make or mount it, or unset FOURCAST_CONF"
            )
        search_path.prepend("fourcast", f"file://{Path(folder).resolve()}", SearchPathQuery(provider="main"))


def conf_directory() -> Path:
    """The folder of YAML files that fourcast brings: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).parent
    installed = package / "conf"
    return installed if installed.is_dir() else package.parent / "conf"
