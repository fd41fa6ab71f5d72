"""The image: what it is built from, what compose starts, and the real build where a machine can do it."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parent.parent
DOCKER = ROOT / "docker"
DOCKERFILE = (DOCKER / "Dockerfile").read_text()
COMPOSE = [DOCKER / "compose.yaml", DOCKER / "compose.cpu.yaml"]
BIN = Path(sys.executable).parent


def services(path: Path) -> dict[str, dict[str, Any]]:
    return yaml.safe_load(path.read_text())["services"]


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(word) for word in command], capture_output=True, text=True)


def table(text: str) -> dict[str, str]:
    """The rows of the Markdown table of figures in ``text``."""
    return dict(re.findall(r"^\| (.+?) \| (.+?) \|$", text, re.M))


def test_the_linter_has_nothing_to_say() -> None:
    linted = run(BIN / "hadolint", DOCKER / "Dockerfile")
    assert (linted.returncode, linted.stdout) == (0, "")


def test_the_build_sees_what_it_copies_and_nothing_else() -> None:
    lines = (ROOT / ".dockerignore").read_text().split()
    assert lines[0] == "*"
    assert all(line.startswith("!") or line.startswith("**/") for line in lines[1:])
    seen = {line.removeprefix("!") for line in lines if line.startswith("!")}
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.M)
    assert seen == {name for line in copied for name in line.split()}
    assert all((ROOT / name).exists() for name in seen)


def test_the_base_image_has_the_cuda_of_the_locked_torch() -> None:
    base = re.search(r"^ARG BASE_IMAGE=(.+)$", DOCKERFILE, re.M)[1]
    toolkit = re.search(r"^cuda-toolkit==(\d+\.\d+\.\d+)", (ROOT / "locks/torch.txt").read_text(), re.M)[1]
    assert base.startswith(f"nvidia/cuda:{toolkit}-base-")
    assert f"${{BASE_IMAGE:-{base}}}" in COMPOSE[0].read_text()


@pytest.mark.parametrize("path", COMPOSE, ids=lambda path: path.name)
def test_compose_files_are_valid(path: Path) -> None:
    checked = run(BIN / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", path)
    assert checked.returncode == 0, checked.stdout
    if shutil.which("docker-compose"):
        composed = run("docker-compose", "-f", path, "config", "-q")
        assert composed.returncode == 0, composed.stderr


def test_a_site_may_mount_its_configuration_and_nothing_else_hides_that_of_the_image() -> None:
    both = [yaml.safe_load(path.read_text()) for path in COMPOSE]
    mounts = {mount for each in both for service in each["services"].values() for mount in service.get("volumes", [])}
    assert [mount for mount in mounts if "/conf" in mount] == ["${FOURCAST_SITE:-site}:/fourcast/conf:ro"]
    assert [each["volumes"] for each in both] == 2 * [{"site": {}}]  # extending a service brings no volume with it


def test_services_end_with_the_program_so_that_overrides_or_a_verb_may_follow() -> None:
    for path, own in zip(COMPOSE, ({"torchrun": ["-m", "fourcast"]}, {}), strict=True):
        entries = {name: service["entrypoint"] for name, service in services(path).items() if "entrypoint" in service}
        assert services(path).keys() - entries.keys() == {"fourcast"}
        assert all(entry[:3] == ["tini", "-s", "--"] for entry in entries.values())
        verbs = {verb: ["fourcast", verb] for verb in ("train", "forecast", "verify")}
        assert {name: entry[-2:] for name, entry in entries.items()} == verbs | own
    assert 'ENTRYPOINT ["tini", "-s", "--", "fourcast"]' in DOCKERFILE


def test_gpus_are_reserved_or_hidden() -> None:
    on_processors = {"compose.yaml": ["verify"], "compose.cpu.yaml": ["fourcast", "train", "forecast", "verify"]}
    for path in COMPOSE:
        for name, service in services(path).items():
            seen = service["environment"]["NVIDIA_VISIBLE_DEVICES"]
            if name in on_processors[path.name]:
                assert (seen, service.get("deploy", {})) == ("void", {})
            else:
                (device,) = service["deploy"]["resources"]["reservations"]["devices"]
                assert (seen, device["driver"], device["capabilities"]) == ("all", "nvidia", ["gpu"])


@pytest.mark.container
@pytest.mark.timeout(660)
def test_the_image_builds_and_works(tmp_path: Path) -> None:
    missing = [program for program in ("buildah", "mmdebstrap") if shutil.which(program) is None]
    if missing or os.geteuid() != 0:
        pytest.skip(f"building an image needs root, buildah and mmdebstrap; missing: {', '.join(missing) or 'root'}")
    proven = run("nice", DOCKER / "prove.sh", tmp_path / "figures.md")
    print(proven.stdout)
    assert proven.returncode == 0, proven.stdout[-3000:] + proven.stderr[-6000:]
    figures = table((tmp_path / "figures.md").read_text())
    assert figures["exit status after SIGTERM"].startswith("75")
    assert set(figures) <= set(table((DOCKER / "README.md").read_text()))
    assert float(figures["image"].split()[0]) < 4000
