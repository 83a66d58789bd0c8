"""Render a snapshot as a PNG with matplotlib's Agg. Only the sidecar imports this package; it may import `view`."""

from __future__ import annotations

from io import BytesIO

import numpy as np
from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from cwnotify.view.format import DARK, LIGHT
from cwnotify.view.plot.draw import MARGINS, STYLE, Drawing
from cwnotify.view.snapshot import Snapshot

MAX_COLORS = 128


class PlotRenderer:
    """Render snapshots of one size on one figure.

    Parameters
    ----------
    width_px, height_px
        The size of the image in pixels.
    scale
        Image pixels per CSS pixel. More than 1.0 stays sharp on high-density screens.
    """

    def __init__(self, width_px: int = 1440, height_px: int = 450, scale: float = 1.5) -> None:
        width, height = width_px / scale, height_px / scale
        left, bottom, right, top = MARGINS
        with rc_context(STYLE):
            # A point is a CSS pixel.
            self._canvas = FigureCanvasAgg(Figure(figsize=(width / 72, height / 72), dpi=72 * scale))
            self._axes = self._canvas.figure.add_axes(
                (left / width, bottom / height, 1 - (left + right) / width, 1 - (bottom + top) / height)
            )
            self._axes.set_axis_off()

    def render_png(self, snapshot: Snapshot, dark: bool) -> bytes:
        """Return the plot as PNG, with the colours of a dark or a light page."""
        theme = DARK if dark else LIGHT
        with rc_context(STYLE):
            Drawing(self._axes, snapshot, theme).draw()
            self._canvas.draw()  # type: ignore[no-untyped-call]
        pixels = self._canvas.buffer_rgba()  # type: ignore[no-untyped-call]
        image = Image.frombuffer("RGBA", self._canvas.get_width_height(), pixels).convert("RGB")
        # A palette makes the file a third as large. Its colours are means, but the page must match the panel's.
        image = image.quantize(MAX_COLORS, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
        palette, page = np.array(image.getpalette()).reshape(-1, 3), np.asarray(image)[0, 0]
        palette[page] = tuple(bytes.fromhex(theme.page[1:]))
        image.putpalette(palette.ravel().tolist())
        png = BytesIO()
        image.save(png, "PNG")
        return png.getvalue()
