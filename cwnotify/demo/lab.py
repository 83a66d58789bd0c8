"""``make lab``: JupyterLab beside the stand-ins for Slack and AWS, open for playing until Ctrl-C."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from cwnotify.demo.aws import Ministack
from cwnotify.demo.cpu_load import CpuFeed, CpuMeter, create_cpu_writer


def run_lab(notebook: Path, page_url: str, aws: Ministack) -> int:
    """Run JupyterLab in `notebook`'s folder, on an instance of `aws` whose alarms are deployed; gives its exit code.

    It is a child in this terminal, so Ctrl-C ends it too. What was deployed ends with the stand-in.
    """
    print(f"Slack stand-in: {page_url}  (open it beside JupyterLab; Ctrl-C ends all)")
    instance = aws.run_instance(InstanceType="c7i.large", Monitoring={"Enabled": True})
    print(f"AWS stand-in:   {aws.url}  (your kernels' instance is {instance}; its CPU is this machine's)")
    alarms = ["deploy", "--instance", instance, "--period", "60", "--datapoints", "1/1"]
    subprocess.run([sys.executable, "-m", "cwnotify", *alarms], stdout=subprocess.DEVNULL, check=True)
    os.environ["CWNOTIFY_INSTANCE"] = instance
    options = ["--ServerApp.ip=127.0.0.1", f"--ServerApp.root_dir={notebook.parent.resolve()}"]
    if os.geteuid() == 0:
        # In a container one is often root, and Jupyter would not start without being told that it may.
        options.append("--allow-root")
    with CpuFeed(CpuMeter(), create_cpu_writer(aws.client("cloudwatch"), instance)):
        try:
            return subprocess.call([sys.executable, "-m", "jupyterlab", *options, str(notebook.resolve())])
        except KeyboardInterrupt:
            return 0
