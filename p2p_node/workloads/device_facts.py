"""The facts that a provider reports: host, software, GPUs."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from p2p_node.workloads.host_facts import clean_text, read_host_facts, read_software_facts
from p2p_node.workloads.nvml import GpuSource, NvmlUnavailableError, open_nvml
from protocols.device_facts import MAX_NOTE, DeviceFacts

OpenGpus = Callable[[], AbstractContextManager[GpuSource]]


def read_device_facts(data_dir: Path, open_gpus: OpenGpus = open_nvml) -> DeviceFacts:
    """Describe this machine. Blocks for some milliseconds, longer where the driver has to wake.

    Without GPUs `note` says why; a GPU that cannot be asked is named there, and its facts are
    unknown.
    """
    host = read_host_facts(data_dir)
    try:
        with open_gpus() as source:
            driver, readings = source.read_driver(), source.read_gpus()
    except NvmlUnavailableError as error:
        return DeviceFacts(clean_text(str(error)) or "no GPU", host, read_software_facts())
    problems = [f"GPU {each.index}: {each.problem}" for each in readings if each.problem]
    note = "; ".join(problems) if readings else "the driver shows no GPU"
    return DeviceFacts(
        note[:MAX_NOTE],
        host,
        read_software_facts(
            driver=driver.driver, cuda=driver.cuda, confidential=driver.confidential
        ),
        tuple(each.facts for each in readings),
    )
