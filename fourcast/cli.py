"""``fourcast <verb> [overrides…]``: the verb names a Hydra configuration and the function that it is given to."""

import importlib
import os
import re
import sys
from typing import NoReturn

from fourcast import __version__
from fourcast.errors import InputError

VERBS = {
    "simulate": ("fourcast.data.simulate", "simulate", "run a simulated planet into a netCDF file"),
    "fetch": ("fourcast.data.fetch", "fetch", "download ERA5 from the Climate Data Store"),
    "ingest": ("fourcast.data.ingest", "ingest", "turn analyses (netCDF, GRIB, zarr) into a training store"),
    "inspect": ("fourcast.inspect", "inspect", "say what a file, store, checkpoint or forecast run holds"),
    "plan": ("fourcast.train.plan", "plan", "predict memory, disk and time of a training before it starts"),
    "train": ("fourcast.train.loop", "train", "train a model; under torchrun on many devices"),
    "forecast": ("fourcast.forecast.ensemble", "forecast", "roll a model forward into CF netCDF, one file a member"),
    "calibrate": ("fourcast.calibrate.calibrate", "calibrate", "find amplitudes at which spread matches error"),
    "verify": ("fourcast.verify.evaluate", "verify", "score forecasts beside persistence and climatology"),
    "report": ("fourcast.report.report", "report", "make one HTML page of a run, with a map to look around in"),
    "import-weights": ("fourcast.import_weights", "import_weights", "turn published weights into a checkpoint"),
    "export-weights": ("fourcast.export_weights", "export_weights", "turn a checkpoint into published weights"),
    "doctor": ("fourcast.doctor.doctor", "doctor", "say what is here, what works, what is slow, and what to do"),
}
SUBJECTS = {"inspect": "path", "report": "run"}
"""The key that a first word without = stands for: ``fourcast report runs/quickstart``."""


def main() -> None:
    """Entry point of the command line."""
    arguments = sys.argv[1:]
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_help())
        return
    verb, overrides = arguments[0], _with_subject(arguments[0], arguments[1:])
    if verb in ("-V", "--version"):
        print(f"fourcast {__version__}")
        return
    if verb not in VERBS:
        print(f"fourcast: no verb {verb!r}; expected one of {', '.join(VERBS)}", file=sys.stderr)
        sys.exit(2)
    run_verb(verb, overrides)


def _with_subject(verb: str, words: list[str]) -> list[str]:
    """The overrides that ``words`` are, of which the first may be a bare path."""
    if verb not in SUBJECTS or not words or words[0].startswith("-") or "=" in words[0]:
        return words
    # In Hydra's grammar a backslash is itself unless quotes follow.
    quoted = re.sub(r"(\\*)('|$)", lambda m: 2 * m[1] + ("\\'" if m[2] else ""), words[0])
    return [f"{SUBJECTS[verb]}='{quoted}'", *words[1:]]


def run_verb(verb: str, overrides: list[str]) -> None:
    """Compose the verb's configuration from conf/ and ``overrides`` and run it, once or as a Hydra multirun.

    What the user can mend becomes one line and status 2, a disk that is full or forbidden one line and status 1;
    anything else keeps its traceback, as does everything under FOURCAST_TRACEBACK=1.
    """
    import hydra
    from hydra.errors import HydraException
    from omegaconf import DictConfig, OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    from fourcast.compose import conf_directory, register_schemas

    module, function, _ = VERBS[verb]

    def task(composed: DictConfig) -> None:
        try:
            missing = OmegaConf.missing_keys(composed)
            if missing:
                raise InputError(f"needs {', '.join(f'{key}=…' for key in sorted(missing))}")
            getattr(importlib.import_module(module), function)(OmegaConf.to_object(composed))
        except (InputError, OmegaConfBaseException) as error:
            _stop(verb, error, 2)
        except OSError as error:
            _stop(verb, error, 1)

    register_schemas()
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # Hydra raises instead of printing and exiting
    prefix = "experiment="
    group = "train" if verb == "plan" else verb
    presets = [f"+experiment/{group}=" + o.removeprefix(prefix) if o.startswith(prefix) else o for o in overrides]
    sys.argv = [f"fourcast {verb}", *presets]
    try:
        hydra.main(version_base="1.3", config_path=str(conf_directory()), config_name=verb)(task)()
    except (HydraException, OmegaConfBaseException, InputError) as error:
        _stop(verb, error, 2)
    except OSError as error:
        _stop(verb, error, 1)
    except RuntimeError as error:
        if not _is_of_slurm(error):
            raise
        _stop(verb, error, 1)
    except KeyboardInterrupt:
        print(f"\nfourcast {verb}: stopped; nothing half-written carries a finished name", file=sys.stderr)
        sys.exit(130)


def _stop(verb: str, error: Exception, status: int) -> NoReturn:
    """Say in one line what is wrong, and exit."""
    if os.environ.get("FOURCAST_TRACEBACK"):
        raise error
    words = " ".join(_worded(error).split())
    print(f"fourcast {verb}: {words}", file=sys.stderr)
    if "SUBMITIT_EXECUTOR" in os.environ:  # it travels from the job to the command that submitted it
        raise InputError(words) if status == 2 else OSError(words)
    sys.exit(status)


def _is_of_slurm(error: RuntimeError) -> bool:
    """Whether submitit says that it cannot submit, or that a job ended without a result."""
    return type(error).__module__.startswith("submitit.") or str(error).startswith('Could not detect "srun"')


def _worded(error: Exception) -> str:
    """What an error says, and of those of Hydra that speak of its grammar and its classes, what to write instead."""
    from hydra.errors import OverrideParseException

    if isinstance(error, OverrideParseException):
        return (
            f"{error.override} cannot be read; write key=value, and what holds spaces or signs in two kinds of quotes: "
            "'key=\"a > b\"', in a list 'key=[\"a > b\",c]'"
        )
    if "'hydra/launcher/submitit_" in str(error):
        return (
            "launcher=slurm and slurm_array submit jobs through submitit, which is not installed: "
            "pip install 'fourcast[slurm]', or submit scripts/slurm/*.sbatch, which need no extra"
        )
    text = str(error).split("Config search path")[0].split("Error stream produced")[0]
    if error.__cause__ is not None and not isinstance(error, InputError | OSError):
        cause = str(error.__cause__).splitlines()[0]
        text += " (must be a list, as in key=[1,2])" if "is not a ListConfig" in cause else f" ({cause})"
    return text


def _help() -> str:
    verbs = "\n".join(f"  {name:15} {text}" for name, (_, _, text) in VERBS.items())
    return f"""fourcast {__version__}: global weather forecasting from ERA5 to a verified ensemble

usage: fourcast <verb> [key=value …]; inspect and report take a path: fourcast report runs/quickstart

{verbs}

fourcast <verb> --help shows every key of a verb with its default; --cfg job prints the composed configuration;
experiment=<name> loads the preset conf/experiment/<verb>/<name>.yaml;
FOURCAST_CONF=DIR names a folder laid out as conf/, whose files add to those or replace them;
-m runs several values in turn, as in train -m model.depth=4,8 output='runs/depth${{model.depth}}'.
"""
