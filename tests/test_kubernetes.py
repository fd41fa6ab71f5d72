"""The manifests of docker/kubernetes are valid, agree with each other, and start what fourcast knows."""

import importlib
import json
import os
import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import tiny
import yaml
from documents import blocks
from jsonschema import Draft202012Validator
from manifests import (
    FOLDER,
    JOBS,
    KUSTOMIZATIONS,
    LAUNCHER,
    NODE,
    OBJECTS,
    PODS,
    QUEUE,
    RUNTIME,
    STARTERS,
    Object,
    command,
    environment,
    of_folder,
    read,
)

from fourcast.cli import SUBJECTS
from fourcast.compose import conf_directory
from fourcast.train.signals import EXIT_INTERRUPTED

DOCUMENT = tiny.ROOT / "docs/kubernetes.md"
VERSIONS = ("1.31", "1.37")
"""Of Kubernetes: the first in which pod failure policies are settled, and the newest that is known."""
KUEUE = ("ResourceFlavor", "ClusterQueue", "LocalQueue")
"""Kinds for which no package has a schema."""
TRAINER = {"TrainJob": "train_job", "TrainingRuntime": "training_runtime"}


def validate(found: Object) -> None:
    """Raise an error where an object has a field that its kind lacks, or one of a wrong type."""
    if found["kind"] not in TRAINER:
        for version in VERSIONS:
            kubernetes_validate.validate(found, version, strict=True)
        return
    kind = found["kind"]
    models = importlib.import_module(f"kubeflow_trainer_api.models.trainer_v1alpha1_{TRAINER[kind]}")  # takes a second
    model = getattr(models, f"TrainerV1alpha1{kind}").from_dict(found)
    assert model is not None
    if model.to_dict() != found:
        raise ValueError(f"{kind} has fields that its model does not know")


@pytest.mark.parametrize("name", [name for name in OBJECTS if not name.startswith(KUEUE)])
def test_objects_are_valid(name: str) -> None:
    validate(OBJECTS[name])


def job_spec(found: Object) -> Object:
    """Of a Job, or of the one that a TrainingRuntime holds."""
    if found["kind"] == "Job":
        return found["spec"]
    return found["spec"]["template"]["spec"]["replicatedJobs"][0]["template"]["spec"]


def misspelt(found: Object) -> None:
    job_spec(found)["backofLimit"] = 3


def misspelt_deep(found: Object) -> None:
    job_spec(found)["template"]["spec"]["containers"][0]["securityContext"]["readOnlyRootFileSystem"] = True


def mistyped(found: Object) -> None:
    job_spec(found)["backoffLimit"] = "3"


def mistyped_deep(found: Object) -> None:
    job_spec(found)["podFailurePolicy"]["rules"][0]["onExitCodes"]["values"] = ["two"]


@pytest.mark.parametrize("fault", [misspelt, misspelt_deep, mistyped, mistyped_deep])
@pytest.mark.parametrize("name", ["Job-fourcast-ingest", "TrainingRuntime-fourcast"])
def test_faults_are_found(name: str, fault: Callable[[Object], None]) -> None:
    found = json.loads(json.dumps(OBJECTS[name]))
    validate(found)
    fault(found)
    with pytest.raises(ValueError if name.startswith("Tr") else kubernetes_validate.ValidationError):
        validate(found)


@pytest.mark.parametrize(("key", "value"), [("numNode", 2), ("numNodes", "two"), ("resourcesPerNode", 8)])
def test_faults_of_a_train_job_are_found(key: str, value: object) -> None:
    found = json.loads(json.dumps(OBJECTS["TrainJob-fourcast-train"]))
    found["spec"]["trainer"][key] = value
    with pytest.raises((ValueError, AttributeError)):
        validate(found)


def closed(schema: Any) -> Any:
    """A CRD's schema that allows no field that it does not name, as the API server's strict validation."""
    if isinstance(schema, list):
        return [closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: closed(value) for key, value in schema.items()}
    is_open = found.get("x-kubernetes-preserve-unknown-fields") or "additionalProperties" in found
    if isinstance(found.get("properties"), dict) and not is_open:
        found["additionalProperties"] = False
    return found


@pytest.mark.slow
def test_objects_fit_published_definitions() -> None:
    folder = Path(os.environ.get("FOURCAST_SCHEMAS", "none"))
    if not folder.is_dir():
        pytest.skip("set FOURCAST_SCHEMAS to a folder of custom resource definitions, Kubeflow Trainer's and Kueue's")
    checked = set()
    for path in folder.rglob("*.yaml"):
        definition = yaml.load(path.read_text(), Loader=yaml.CSafeLoader)["spec"]
        for found in (each for each in OBJECTS.values() if each["kind"] == definition["names"]["kind"]):
            group, version = found["apiVersion"].split("/")
            assert group == definition["group"]
            (versioned,) = [each for each in definition["versions"] if each["name"] == version and each["served"]]
            schema = closed(versioned["schema"]["openAPIV3Schema"])
            schema["properties"]["metadata"] = {"type": "object"}
            Draft202012Validator(schema).validate(found)
            with pytest.raises(Exception, match="Additional properties"):
                Draft202012Validator(schema).validate({**found, "spec": {**found.get("spec", {}), "bogus": 1}})
            checked.add(found["kind"])
    assert checked == {*TRAINER, *KUEUE}


@pytest.fixture
def started(tmp_path: Path) -> Callable[..., list[str]]:
    """The words with which a pod's command starts the program fourcast, or the Python that runs it."""
    for program in ("fourcast", "python3"):
        (tmp_path / program).write_text('#!/bin/sh\nprintf "%s\\n" "${0##*/}" "$@"\n')
        (tmp_path / program).chmod(0o755)

    def start(name: str, index: int = 0) -> list[str]:
        variables = {**environment(name, index), "PATH": f"{tmp_path}:{os.environ['PATH']}"}
        return subprocess.check_output(command(name, index), env=variables, text=True).splitlines()

    return start


@pytest.mark.parametrize("name", STARTERS)
def test_commands_compose(name: str, started: Callable[..., list[str]]) -> None:
    words = started(name)
    verb, *overrides = words[words.index("fourcast") + 1 :]
    preset, subject = f"+experiment/{verb}=", f"{SUBJECTS.get(verb)}="
    given = [subject + word if "=" not in word else word.replace("experiment=", preset) for word in overrides]
    assert "launcher=local" in given
    tiny.composed(verb, *given)


@pytest.mark.parametrize("name", ["Job-fourcast-ingest", "Job-fourcast-forecast", "Job-fourcast-verify"])
def test_shares_make_up_the_whole(name: str, started: Callable[..., list[str]]) -> None:
    spec = JOBS[name]["spec"]
    count = spec["completions"]
    assert (spec["completionMode"], spec["parallelism"]) == ("Indexed", count)
    assert [started(name, index)[-1] for index in range(count)] == [f"part={k}/{count}" for k in range(1, count + 1)]
    assert started(name)[:3] == ["fourcast", name.removeprefix("Job-fourcast-"), "experiment=era5_1p5deg"]


def test_combining_is_the_forecast_without_its_share(started: Callable[..., list[str]]) -> None:
    share, whole = "Job-fourcast-forecast", "Job-fourcast-combine"
    assert started(whole) == started(share)[:-1]
    assert "completionMode" not in JOBS[whole]["spec"]
    (one,), (other,) = PODS[share]["containers"], PODS[whole]["containers"]
    assert {key for key in one if one[key] != other[key]} == {"command", "env"}
    assert one["env"] == [*other["env"], {"name": "SHARES", "value": str(JOBS[share]["spec"]["completions"])}]


@pytest.mark.parametrize("name", PODS)
def test_pods_are_confined(name: str) -> None:
    pod, (container,) = PODS[name], PODS[name]["containers"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert "runAsUser" not in pod["securityContext"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
    }  # fmt: skip


@pytest.mark.parametrize("name", PODS)
def test_pods_have_what_they_mount(name: str) -> None:
    pod, (container,) = PODS[name], PODS[name]["containers"]
    volumes = {each["name"]: each for each in pod["volumes"]}
    assert len(volumes) == len(pod["volumes"])
    assert sorted(volumes) == sorted(each["name"] for each in container["volumeMounts"])
    claims = [each["persistentVolumeClaim"]["claimName"] for each in pod["volumes"] if "persistentVolumeClaim" in each]
    assert [f"PersistentVolumeClaim-{claim}" for claim in claims] == [name for name in OBJECTS if "Claim-" in name]
    assert volumes["shm"]["emptyDir"]["medium"] == "Memory"
    assert volumes["conf"]["configMap"]["optional"] is True
    presets = {item["path"].split("/")[1] for item in volumes["conf"]["configMap"]["items"]}
    assert presets <= {path.name for path in (conf_directory() / "experiment").iterdir()}
    common = [volumes[each] for each in ("data", "runs", "conf", "tmp")]
    assert common == PODS["Job-fourcast-ingest"]["volumes"][:4]
    starts_torchrun = str(LAUNCHER.name) in " ".join(container["command"])
    assert ("launch" in volumes) == starts_torchrun
    if starts_torchrun:
        assert volumes["launch"]["configMap"]["name"] == KUSTOMIZATIONS["."]["configMapGenerator"][0]["name"]
        assert container["command"][1] == f"/fourcast/launch/{LAUNCHER.name}"


def test_pods_have_the_variables_of_the_image_whose_folders_they_may_write() -> None:
    dockerfile = (FOLDER.parent / "Dockerfile").read_text()
    of_image = dict(re.findall(r"^(?:ENV|   ) (\w+)=([^ $]\S*)", dockerfile[dockerfile.index("ENV PATH") :], re.M))
    folders = {value for key, value in of_image.items() if key == "HOME" or key.endswith(("DIR", "CACHE_HOME"))}
    assert len(folders) == 5
    assert {Path(folder).parts[:2] for folder in folders} == {("/", "tmp")}
    assert of_image["FOURCAST_CONF"] == "/fourcast/conf"
    own = {key for name in PODS for key in environment(name, 0)} & set(of_image)
    assert own == {"NVIDIA_VISIBLE_DEVICES"}


def test_pods_with_gpus_may_go_where_nothing_else_may_and_others_see_none() -> None:
    taint = {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
    resources = {name: pod["containers"][0].get("resources") for name, pod in PODS.items()}
    resources["TrainJob-fourcast-train"] = OBJECTS["TrainJob-fourcast-train"]["spec"]["trainer"]["resourcesPerNode"]
    with_gpus = {name for name, each in resources.items() if "nvidia.com/gpu" in each["limits"]}
    assert len(with_gpus) == 5
    hidden = {name for name in PODS if environment(name, 0).get("NVIDIA_VISIBLE_DEVICES") == "void"}
    assert hidden == set(PODS) - with_gpus
    assert {name: pod["tolerations"] for name, pod in PODS.items() if "tolerations" in pod} == {
        name: [taint] for name in with_gpus
    }


@pytest.mark.parametrize("step", ["ingest", "forecast", "combine", "verify"])
def test_threads_are_as_many_as_processors(step: str) -> None:
    """And not as many as the node has, which is what libraries take where nobody tells them."""
    (container,) = PODS[f"Job-fourcast-{step}"]["containers"]
    workers = [int(word.removeprefix("workers=")) for word in container["args"] if word.startswith("workers=")] or [1]
    threads = int(environment(f"Job-fourcast-{step}", 0)["OMP_NUM_THREADS"])
    assert workers[0] * threads == int(container["resources"]["requests"]["cpu"])


@pytest.fixture
def waited(tmp_path: Path) -> Callable[[str], int]:
    """The status of the documented wait, where ``kubectl`` is what the text in shell says; its pauses go to a file."""
    text = "".join(block.text for block in blocks(DOCUMENT))
    function = text[text.index("finished() {") :].split("\n}\n")[0] + "\n}\n"
    end = "; sleep() { echo >>waits; }; finished job/any"

    def wait(kubectl: str) -> int:
        words = ["bash", "-c", f"{function}kubectl() {{ {kubectl}; }}{end}"]
        return subprocess.run(words, cwd=tmp_path, timeout=20, check=False).returncode

    return wait


@pytest.mark.parametrize(("end", "status"), [("SuccessCriteriaMet Complete", 0), ("FailureTarget Failed", 1)])
def test_the_documented_wait_ends_whichever_way_a_job_does(
    end: str, status: int, waited: Callable[[str], int], tmp_path: Path
) -> None:
    (tmp_path / "conditions").write_text(f"\nSuspended\n{end.split()[0]}\n{end}\nnever\n")
    assert waited("head -n 1 conditions; sed -i 1d conditions") == status
    assert (tmp_path / "waits").read_text() == 3 * "\n"


def test_the_documented_wait_ends_where_the_cluster_does_not_answer(
    waited: Callable[[str], int], tmp_path: Path
) -> None:
    assert waited("false") == 1
    assert (tmp_path / "waits").read_text() == 6 * "\n"


def test_the_documented_wait_outlasts_a_cluster_that_does_not_answer_now_and_then(
    waited: Callable[[str], int], tmp_path: Path
) -> None:
    (tmp_path / "conditions").write_text(6 * "Suspended\n" + "Complete\n")
    now_and_then = "echo >>asked; [ $(($(wc -l <asked) % 2)) = 0 ] && head -n 1 conditions && sed -i 1d conditions"
    assert waited(now_and_then) == 0
    assert len((tmp_path / "waits").read_text()) == 13


def test_the_documented_site_names_the_image_and_both_folders() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    site = yaml.safe_load(text[text.index("# ../site/kustomization.yaml\n") :].split("```")[0])
    assert {container["image"] for pod in PODS.values() for container in pod["containers"]} == {"fourcast"}
    assert [image["name"] for image in site["images"]] == ["fourcast"]
    folders = {FOLDER / folder for folder in KUSTOMIZATIONS}
    assert {tiny.ROOT / each.removeprefix("../fourcast/") for each in site["resources"]} == folders
    assert {patch["target"]["kind"] for patch in site["patches"]} <= {each["kind"] for each in OBJECTS.values()}


def test_every_file_is_listed_beside_what_the_same_clusters_know() -> None:
    """kubectl apply -k fails where the cluster lacks a kind of the folder, also one that no label chooses."""
    listed = {FOLDER / folder / name for folder, found in KUSTOMIZATIONS.items() for name in found["resources"]}
    own = {*FOLDER.rglob("kustomization.yaml"), LAUNCHER, QUEUE}
    assert {path for path in FOLDER.rglob("*.*") if "__pycache__" not in path.parts} == listed | own
    assert {each["kind"] for each in of_folder(".").values()} == {"PersistentVolumeClaim", "Pod", "Job"}
    assert {each["kind"] for each in of_folder("trainer").values()} == set(TRAINER)
    assert {each["kind"] for each in read(QUEUE).values()} == set(KUEUE)


def test_steps_are_labelled_and_queued() -> None:
    for name, found in OBJECTS.items():
        labels = found["metadata"]["labels"]
        assert labels["app.kubernetes.io/component"], name
        assert ("kueue.x-k8s.io/queue-name" in labels) == (found["kind"] in ("Job", "TrainJob")), name


def test_exit_statuses_say_whether_to_try_again() -> None:
    for name, job in JOBS.items():
        mistake, stopped, disrupted = job["spec"]["podFailurePolicy"]["rules"]
        assert (mistake["action"], mistake["onExitCodes"]["values"]) == ("FailJob", [2]), name
        ended = [EXIT_INTERRUPTED, 128 + signal.SIGTERM]
        assert (stopped["action"], stopped["onExitCodes"]["values"]) == ("Ignore", ended), name
        assert (disrupted["action"], disrupted["onPodConditions"][0]["type"]) == ("Ignore", "DisruptionTarget"), name
    (mistake,) = NODE["podFailurePolicy"]["rules"]
    assert (mistake["action"], mistake["onExitCodes"]["values"], NODE["backoffLimit"]) == ("FailJob", [2], 0)
    policy = RUNTIME["spec"]["template"]["spec"]["failurePolicy"]
    assert [(rule["action"], rule["onJobFailureReasons"]) for rule in policy["rules"]] == [
        ("FailJobSet", ["PodFailurePolicy"])
    ]
    assert all(pod["restartPolicy"] == "Never" for pod in PODS.values())


def test_trainings_have_time_to_save() -> None:
    for name in ("Job-fourcast-train-one-node", "TrainJob-fourcast-train"):
        (timeout,) = [int(word.split("=")[1]) for word in command(name) if word.startswith("--shutdown-timeout=")]
        assert 180 <= timeout <= PODS[name]["terminationGracePeriodSeconds"] - 30
