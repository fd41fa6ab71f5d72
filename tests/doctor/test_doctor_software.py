"""Which builds of torch and triton are wrong for a machine, told from plain facts."""

import re
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from fourcast.doctor import packages, software
from fourcast.doctor.nvidia import Gpu, Nvidia
from fourcast.doctor.packages import extras_findings, extras_of, lacking, libraries_finding, require_known
from fourcast.doctor.software import Torch, fits, torch_by_metadata, torch_finding, triton_finding
from fourcast.errors import InputError

ARCHS = ("sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120", "compute_120")
NODE = Nvidia("580.65.06", (13, 0), (Gpu("NVIDIA H200", 151 << 30, (9, 0)),))
GOOD = Torch("2.11.0+cu130", "13.0", None, ARCHS, (("NVIDIA H200", (9, 0)),), "", ", NCCL 2.28.9")
LAPTOP = Nvidia()


@pytest.fixture(autouse=True)
def with_pip(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "has_pip", lambda: True)


def wrong(torch: Torch, here: Nvidia = NODE, device: str = "auto") -> tuple[str, str]:
    """What is found and the way out, of a build that must be refused."""
    found = torch_finding(torch, here, device)
    assert found.status == "failed", found
    assert found.name == "torch"
    return found.found, found.remedy


def test_the_right_build():
    found = torch_finding(GOOD, NODE, "auto")
    assert (found.status, found.remedy) == ("ok", "")
    assert "NCCL 2.28.9; it sees 1 of 1 GPUs" in found.found


def test_too_old():
    said, remedy = wrong(Torch("2.10.1+cu130", "13.0", None, ARCHS))
    assert "2.10.1" in said
    assert remedy == "pip install 'torch>=2.11'"
    assert wrong(Torch("2.9.0a0+50eac811a6.nv25.09", "13.0"), LAPTOP)[1] == remedy


def test_a_build_for_cpus_beside_a_gpu():
    said, remedy = wrong(Torch("2.13.0+cpu", None))
    assert "build for CPUs" in said
    assert "NVIDIA H200" in said
    assert remedy.startswith("pip install --force-reinstall 'torch==2.13.*' --index-url")
    assert remedy.endswith("/cu130")
    older = Nvidia("550.54.15", (12, 4), NODE.gpus)
    assert wrong(Torch("2.13.0+cpu", None), older)[1].endswith("/cu126")
    assert torch_finding(Torch("2.13.0+cpu", None), NODE, "cpu").status == "ok"
    assert torch_finding(Torch("2.13.0+cpu", None), LAPTOP, "auto").status == "ok"
    assert wrong(Torch("2.13.0+cpu", None), LAPTOP, "cuda")[1].endswith("/cu130")


def test_newer_cuda_than_the_driver_runs():
    said, remedy = wrong(GOOD, Nvidia("535.183.01", (12, 2), NODE.gpus))
    assert "CUDA 13.0" in said
    assert "535.183.01 runs 12.2" in said
    assert "update the driver to 580" in remedy
    assert "LD_LIBRARY_PATH=/usr/local/cuda/compat" in remedy
    assert remedy.endswith("/cu126")


def test_a_newer_cuda_of_the_same_generation_runs():
    torch = Torch("2.11.0+cu126", "12.6", None, ARCHS, GOOD.gpus)
    assert torch_finding(torch, Nvidia("535.183.01", (12, 2), NODE.gpus), "auto").status == "ok"


def test_no_code_for_an_older_or_a_newer_gpu():
    volta = Nvidia("580.65.06", (13, 0), (Gpu("Tesla V100", None, (7, 0)),))
    said, remedy = wrong(replace(GOOD, gpus=(("Tesla V100", (7, 0)),)), volta)
    assert "compute 7.0" in said
    assert remedy.endswith("/cu126")
    few = Torch("2.11.0", "12.6", None, ("sm_80", "sm_90"))
    said, remedy = wrong(few, Nvidia("580.65.06", (13, 0), (Gpu("NVIDIA B200", None, (10, 0)),)))
    assert "compute 10.0" in said
    assert remedy == "pip install --upgrade torch"


def test_torch_sees_no_gpu_although_there_is_one(monkeypatch):
    blind = Torch("2.11.0+cu130", "13.0", None, (), (), "CUDA driver initialization failed")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    said, remedy = wrong(blind)
    assert "initialization failed" in said
    assert "nvidia-smi" in remedy
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    assert "CUDA_VISIBLE_DEVICES='7' is set" in wrong(blind)[1]


def test_torch_sees_fewer_gpus_than_there_are(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    node = Nvidia("580.65.06", (13, 0), 8 * NODE.gpus)
    found = torch_finding(GOOD, node, "auto")
    assert (found.status, "it sees 1 of 8 GPUs" in found.found) == ("poor", True)
    assert "dmesg | grep -i xid; nvidia-smi -q -d ECC" in found.remedy
    assert "MIG" in found.remedy
    assert torch_finding(torch_by_metadata("2.11.0+cu130", []), node, "auto").status == "ok"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    assert torch_finding(GOOD, node, "auto").status == "ok"


@pytest.mark.parametrize(
    ("complaint", "remedy"),
    [
        ("CUDA error: uncorrectable ECC error encountered", "nvidia-smi -q -d ECC"),
        ("Error 802: system not yet initialized", "error 802: systemctl restart nvidia-fabricmanager"),
    ],
)
def test_errors_of_gpus_have_a_way_out(monkeypatch, complaint, remedy):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    node = Nvidia("580.65.06", (13, 0), 8 * NODE.gpus)
    said, way = wrong(replace(GOOD, gpus=7 * GOOD.gpus, complaint=complaint), node)
    assert said == f"2.11.0+cu130 sees 7 of 8 GPUs: {complaint}"
    assert way.startswith(remedy)


def test_gpus_that_are_hidden_decide_nothing():
    mixed = Nvidia("580.65.06", (13, 0), (Gpu("Tesla V100", None, (7, 0)), *NODE.gpus))
    assert torch_finding(GOOD, mixed, "auto").status != "failed"
    assert "compute 7.0" in wrong(replace(GOOD, gpus=()), mixed)[0]


@pytest.mark.parametrize(
    ("version", "index"),
    [("2.13.0+cpu", " --index-url https://download.pytorch.org/whl/cpu"), ("2.13.0", ""), ("2.11.0a0+nv26.01", "")],
)
def test_torch_is_installed_again_as_it_was(version, index):
    assert software.again(version) == f"pip install --force-reinstall --no-deps 'torch=={version}'{index}"


def test_gpus_and_builds_without_kernels_are_poor():
    turing = Nvidia("580.65.06", (13, 0), (Gpu("Tesla T4", None, (7, 5)),))
    old = torch_finding(Torch("2.11.0", "13.0", None, ARCHS, (("Tesla T4", (7, 5)),)), turing, "auto")
    assert (old.status, "plain torch" in old.remedy) == ("poor", True)
    rocm = torch_finding(Torch("2.11.0+rocm7.0", None, "7.0"), LAPTOP, "auto")
    assert (rocm.status, "plain torch" in rocm.remedy) == ("poor", True)


@pytest.mark.parametrize(
    ("archs", "capability", "runs"),
    [
        (("sm_80",), (8, 0), True),
        (("sm_80",), (8, 9), True),
        (("sm_86",), (8, 0), False),
        (("sm_90",), (10, 0), False),
        (("compute_90",), (10, 0), True),
        (("compute_120",), (10, 0), False),
        (("sm_90a",), (9, 0), True),
        (("sm_100a",), (10, 3), False),
        (("gfx90a",), (9, 0), False),
    ],
)
def test_code_that_runs_on_a_gpu(archs, capability, runs):
    assert fits(archs, capability) == runs


@pytest.mark.parametrize(
    ("version", "requires", "cuda"),
    [
        ("2.13.0+cpu", [], None),
        ("2.11.0+cu130", [], "13.0"),
        ("2.12.1+cu126", [], "12.6"),
        ("2.13.0", ["nvidia-cuda-runtime==13.0.96; platform_system == 'Linux'"], "13.0"),
        ("2.11.0", ["cuda-toolkit[cublas,cudart]==13.0.2; platform_system == 'Linux'"], "13.0"),
        ("2.11.0", ["nvidia-cuda-runtime-cu12==12.6.77"], "12.6"),
        ("2.11.0a0+nv26.01", ["numpy"], ""),
    ],
)
def test_build_by_its_metadata(version, requires, cuda):
    assert torch_by_metadata(version, requires) == Torch(version, cuda)


def test_triton_must_be_the_pinned_one_on_a_gpu():
    requires = ['triton==3.6.0; platform_system == "Linux"', "sympy>=1.13"]
    assert triton_finding("3.6.0", requires, True).status == "ok"
    assert triton_finding("3.6.0+git1234", requires, True).status == "ok"
    other = triton_finding("3.7.1", requires, True)
    assert (other.status, other.remedy) == ("failed", "pip install 'triton==3.6.0'")
    assert triton_finding("3.7.1", requires, False).status == "poor"
    assert triton_finding(None, requires, True).remedy == "pip install 'triton==3.6.0'"
    assert triton_finding(None, requires, True).status == "failed"
    assert triton_finding(None, [], False).status == "absent"
    assert triton_finding("3.7.1", [], False).status == "ok"


def test_triton_needs_a_compiler_on_a_gpu(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    found = software.compiler_finding(True)
    assert found.status == "failed"
    assert "no C compiler" in found.found
    assert "apt-get install gcc" in found.remedy
    assert software.compiler_finding(False).status == "absent"
    monkeypatch.setenv("CC", str(tmp_path / "nothing"))
    assert str(tmp_path / "nothing") in software.compiler_finding(True).found


INSTALLED = {"fourcast": "0.1.0", "numpy": "2.4.6", "cfgrib": "0.9.15", "fsspec": "2026.9.0", "torch": "2.9.0"}
NEEDED = {
    "fourcast": [
        "numpy<3,>=2.1",
        "torch>=2.11",
        'triton>=3.6; sys_platform == "nowhere"',
        'cfgrib>=0.9.15; extra == "grib"',
        'eccodes>=2.39; extra == "grib"',
        'eccodeslib; sys_platform == "nowhere" and extra == "grib"',
        'fsspec[http]>=2024.12; extra == "cloud"',
        'pytest; extra == "dev"',
        'numpy>=2; extra == "report"',
    ],
    "fsspec": ['aiohttp; extra == "http"', 'requests; extra == "github"'],
}


def versions(name: str) -> str | None:
    return INSTALLED.get(name)


def requires(name: str) -> list[str]:
    return NEEDED.get(name, [])


def test_extras_are_those_of_the_distribution():
    assert extras_of(NEEDED["fourcast"]) == ["cloud", "grib", "report"]
    assert [need.name for need in lacking("fourcast", "grib", versions, requires)] == ["eccodes"]
    assert [need.name for need in lacking("fourcast", "cloud", versions, requires)] == ["aiohttp"]
    assert [need.name for need in lacking("fourcast", "", versions, requires)] == ["torch"]


def test_a_missing_extra_fails_only_where_it_is_needed():
    [listed] = extras_findings([], versions, requires)
    assert (listed.status, listed.found) == ("ok", "report; not here: cloud, grib")
    assert "pip install 'fourcast[cloud,grib]'" in listed.remedy
    _, failed = extras_findings(["grib", "report"], versions, requires)
    assert (failed.name, failed.status) == ("extra grib", "failed")
    assert "eccodes" in failed.found
    assert failed.remedy == "pip install 'fourcast[grib]'"


def test_nothing_is_installed_where_there_is_no_pip(monkeypatch):
    monkeypatch.setattr(packages, "has_pip", lambda: False)
    listed, failed = extras_findings(["grib"], versions, requires)
    assert (listed.found, listed.remedy) == ("report; not here: cloud", "")
    old = Nvidia("535.183.01", (12, 2), NODE.gpus)
    remedies = {
        "'fourcast[grib]'": failed.remedy,
        "'numpy": libraries_finding({**INSTALLED, "numpy": "1.26.4"}.get, requires).remedy,
        "'torch>=2.11'": wrong(Torch("2.10.1+cu130", "13.0"))[1],
        "--build-arg TORCH=cuda": wrong(Torch("2.13.0+cpu", None))[1],
        "--build-arg TORCH=base": wrong(GOOD, old)[1],
        "'torch==2.13.0+cpu'": software.again("2.13.0+cpu"),
        "'triton==3.6.0'": triton_finding(None, ["triton==3.6.0"], True).remedy,
        "numpy==": packages.again(),
    }
    for wanted, remedy in remedies.items():
        assert f"build the image anew with {wanted}" in remedy
        assert " (docker/README.md); outside of it, uv pip install " in remedy
        assert remedy.count("pip") == 1


def test_an_extra_that_there_is_not():
    with pytest.raises(InputError, match=r"needs .* cloud, grib, report; found 'gribs'"):
        require_known(["gribs"], requires)


def test_libraries_of_other_versions_are_named_with_the_command():
    assert libraries_finding(versions, requires).status == "ok"
    found = libraries_finding({**INSTALLED, "numpy": "1.26.4"}.get, requires)
    assert (found.status, found.found) == ("failed", "numpy 1.26.4")
    assert found.remedy in ("pip install 'numpy<3,>=2.1'", "pip install 'numpy>=2.1,<3'")
    assert "pip install ." in libraries_finding({}.get, requires).remedy


def test_facts_agree_with_the_project():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    oldest = next(match[1] for text in project["dependencies"] if (match := re.match(r"torch>=(.*)", text)))
    assert software.numbers(oldest) == software.OLDEST_TORCH
    assert set(packages.PRIVATE) <= set(project["optional-dependencies"])
