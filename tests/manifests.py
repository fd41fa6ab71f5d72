"""The manifests of docker/kubernetes: their objects, pods and commands."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from tiny import ROOT

Object = dict[str, Any]
FOLDER = ROOT / "docker" / "kubernetes"
LAUNCHER = FOLDER / "torchrun.py"
KUSTOMIZATIONS: dict[str, Object] = {
    str(path.parent.relative_to(FOLDER)): yaml.safe_load(path.read_text())
    for path in sorted(FOLDER.rglob("kustomization.yaml"))
}
"""By folder, of which ``.`` is what every cluster can take."""
QUEUE = FOLDER / "queue.yaml"


def read(path: Path) -> dict[str, Object]:
    """The objects of a file by kind and name."""
    found = yaml.safe_load_all(path.read_text())
    return {f"{each['kind']}-{each['metadata']['name']}": each for each in found}


def of_folder(folder: str) -> dict[str, Object]:
    """The objects that a kustomization names."""
    files = [read(FOLDER / folder / name) for name in KUSTOMIZATIONS[folder]["resources"]]
    return {name: each for found in files for name, each in found.items()}


OBJECTS = {**of_folder("."), **of_folder("trainer"), **read(QUEUE)}
JOBS = {name: each for name, each in OBJECTS.items() if each["kind"] == "Job"}
RUNTIME = OBJECTS["TrainingRuntime-fourcast"]
NODE: Object = RUNTIME["spec"]["template"]["spec"]["replicatedJobs"][0]["template"]["spec"]
PODS: dict[str, Object] = {name: job["spec"]["template"]["spec"] for name, job in JOBS.items()}
PODS["TrainJob-fourcast-train"] = NODE["template"]["spec"]
STARTERS = list(PODS)
"""Of a verb."""
PODS["Pod-fourcast-shell"] = OBJECTS["Pod-fourcast-shell"]["spec"]


def expanded(text: str, environment: Mapping[str, str]) -> str:
    """What Kubernetes makes of a command's text: $(NAME) of known names becomes their value, $$ a dollar sign."""
    return re.sub(r"\$\$|\$\(([^)]*)\)", lambda m: "$" if m[0] == "$$" else environment.get(m[1], m[0]), text)


def environment(name: str, index: int) -> dict[str, str]:
    """The variables of the container in pod ``index`` of a Job."""
    given = {each["name"]: each["value"] for each in PODS[name]["containers"][0].get("env", [])}
    return {**given, "JOB_COMPLETION_INDEX": str(index)}


def command(name: str, index: int = 0) -> list[str]:
    """The words of the container's command in pod ``index``."""
    container = PODS[name]["containers"][0]
    arguments = OBJECTS[name]["spec"]["trainer"]["args"] if name.startswith("TrainJob") else container["args"]
    return [expanded(word, environment(name, index)) for word in [*container["command"], *arguments]]
