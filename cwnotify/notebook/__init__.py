"""What the kernel imports: IPython, traitlets and (for the panel) ipywidgets; never boto3, requests or matplotlib."""
