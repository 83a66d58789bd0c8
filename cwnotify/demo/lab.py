"""``make lab``: JupyterLab with local stand-ins for Slack and AWS, until Ctrl-C."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from cwnotify.demo.aws import Ministack
from cwnotify.demo.cpu_load import CpuFeed, CpuMeter, create_cpu_writer


def run_lab(notebook: Path, page_url: str, aws: Ministack) -> int:
    """Run JupyterLab in `notebook`'s folder, as on an instance of `aws` with deployed alarms. Return its exit code.

    JupyterLab is a child in this terminal, so Ctrl-C stops it too. The deployed stack disappears with the stand-in.
    """
    print(f"Slack stand-in: {page_url}  (open it next to JupyterLab; press Ctrl-C to stop everything)")
    instance = aws.run_instance(InstanceType="c7i.large", Monitoring={"Enabled": True})
    print(f"AWS stand-in:   {aws.url}  (kernels run as instance {instance}; its CPU is this machine's)")
    deploy_command = ["deploy", "--instance", instance, "--period", "60", "--datapoints", "1/1"]
    subprocess.run([sys.executable, "-m", "cwnotify", *deploy_command], stdout=subprocess.DEVNULL, check=True)
    os.environ["CWNOTIFY_INSTANCE"] = instance
    options = ["--ServerApp.ip=127.0.0.1", f"--ServerApp.root_dir={notebook.parent.resolve()}"]
    if os.geteuid() == 0:
        # Containers often run as root, and Jupyter then requires this option.
        options.append("--allow-root")
    with CpuFeed(CpuMeter(), create_cpu_writer(aws.client("cloudwatch"), instance)):
        try:
            return subprocess.call([sys.executable, "-m", "jupyterlab", *options, str(notebook.resolve())])
        except KeyboardInterrupt:
            return 0
