"""The IPython side. It runs in the kernel: IPython, traitlets, ipywidgets for panels; never boto3 or matplotlib."""
