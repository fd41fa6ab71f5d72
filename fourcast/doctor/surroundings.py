"""What variables of the environment say that changes how fourcast runs."""

from collections.abc import Mapping

from fourcast.doctor.finding import ABSENT, OK, POOR, Finding

NAME = "variables"
SHOWN = (
    "CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "TRITON_CACHE_DIR", "TRITON_INTERPRET", "FOURCAST_KERNELS",
    "FOURCAST_CONF", "NCCL_DEBUG", "NCCL_SOCKET_IFNAME", "NCCL_P2P_DISABLE", "NCCL_IB_DISABLE", "NCCL_IB_HCA",
    "GLOO_SOCKET_IFNAME", "RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT", "SLURM_JOB_ID",
    "SLURM_JOB_NODELIST", "SLURM_NTASKS", "SLURM_PROCID", "SLURM_RESTART_COUNT", "OMPI_COMM_WORLD_RANK",
    "OMPI_COMM_WORLD_SIZE", "PMI_RANK", "PMI_SIZE", "JOB_COMPLETION_INDEX", "KUBERNETES_SERVICE_HOST",
)  # fmt: skip
"""Of launchers, of NCCL and of kernels; none of them is secret."""


def variables_finding(environ: Mapping[str, str]) -> Finding:
    """Those of SHOWN that are set, in one line."""
    found = ", ".join(f"{name}={environ[name]}" for name in SHOWN if name in environ)
    if environ.get("TRITON_INTERPRET") == "1":
        return Finding(NAME, POOR, found, "unset TRITON_INTERPRET: kernels are interpreted, thousands of times slower")
    if environ.get("FOURCAST_KERNELS") == "torch":
        return Finding(NAME, POOR, found, "unset FOURCAST_KERNELS: on a GPU plain torch is much slower")
    return Finding(NAME, OK if found else ABSENT, found or "none of a launcher, NCCL or kernels: one process alone")
