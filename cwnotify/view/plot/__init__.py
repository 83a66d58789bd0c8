"""A snapshot -> a PNG. Matplotlib's object interface with Agg, numpy and Pillow; the sidecar alone imports this.

No pyplot, and every colour, width and font is said, so that neither the user's rcParams nor anybody's figures are
touched or believed. An `PlotArea` lays out its ticks and labels for 40 ms a draw; with the little that is needed here
drawn on the bare figure, and its letters by Pillow, it is a quarter of that, and labels go where there is room.
"""

from __future__ import annotations

from functools import cache
from io import BytesIO

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image, ImageDraw

from cwnotify.view.format import DARK, LIGHT, TINT_OPACITY, ColorRole, Theme, blend_colors
from cwnotify.view.plot.axes import PlotArea, drawable_thresholds, value_ticks
from cwnotify.view.plot.draw import Drawing, draw_snapshot
from cwnotify.view.plot.text import LabelLayout, TextRenderer
from cwnotify.view.snapshot import Snapshot

# Of the page, in CSS pixels: what stands around the plot, for the values, the last value, the legend and the times.
LEFT_MARGIN, RIGHT_MARGIN, TOP_MARGIN, BOTTOM_MARGIN = 50, 60, 34, 24
TEXT_SIZE, VALUE_SIZE = 11.0, 13.0
MAX_PALETTE_COLORS = 256
MIN_COLOR_DISTANCE = 12
BLEND_OPACITIES = (0.25, 0.5, 0.75)
ALARM_COLOR_ROLES: tuple[ColorRole, ...] = ("good", "bad", "calm")


class PlotRenderer:
    """Draws snapshots, one after the other, into pictures of one size.

    Parameters
    ----------
    width_px, height_px
        The picture's size in pixels.
    scale
        Pixels of the picture for one of the page. More than one keeps it sharp on dense screens.
    """

    def __init__(self, width_px: int = 1440, height_px: int = 450, scale: float = 1.5) -> None:
        self._size = width_px, height_px
        self._scale = scale
        dpi = 72 * scale
        inches = width_px / dpi, height_px / dpi
        self._figure = Figure(figsize=inches, dpi=dpi, frameon=True, edgecolor="none", linewidth=0)
        # Not the user's, who may have asked for a tight one.
        self._figure.set_layout_engine("none")
        self._canvas = FigureCanvasAgg(self._figure)
        self._letters = TextRenderer(TEXT_SIZE * scale)
        self._bold = TextRenderer(TEXT_SIZE * scale, bold=True)
        self._large = TextRenderer(VALUE_SIZE * scale, bold=True)

    def render_png(self, snapshot: Snapshot, dark: bool) -> bytes:
        """The picture as PNG, for a dark or a light page."""
        theme = DARK if dark else LIGHT
        axes = self._axes(snapshot)
        traces = [axes.build_trace(line) for line in snapshot.lines]
        room = LabelLayout(
            (axes.left, axes.bottom, axes.right, axes.top), axes.label_obstacles(traces, drawable_thresholds(snapshot))
        )
        letters = self._letters, self._bold, self._large
        sheet = Drawing(self._figure, self._size[0], axes, traces, theme, self._scale, room, *letters)
        self._figure.clear()
        self._figure.set_facecolor(theme.page)
        draw_snapshot(sheet, snapshot)
        self._canvas.draw()  # type: ignore[no-untyped-call]
        drawn = self._canvas.buffer_rgba()  # type: ignore[no-untyped-call]
        image = Image.frombuffer("RGBA", self._size, drawn).convert("RGB")
        pen = ImageDraw.Draw(image)
        for words in sheet.placed_texts:
            words.text_renderer.draw(pen, words.x, self._size[1] - words.y, words.text, words.colour)
        file = BytesIO()
        # Level 6 takes twice the time for a fifth less.
        image.quantize(palette=_palette(theme), dither=Image.Dither.NONE).save(file, "PNG", compress_level=3)
        return file.getvalue()

    def _axes(self, snapshot: Snapshot) -> PlotArea:
        width, height = self._size
        return PlotArea(
            left=LEFT_MARGIN * self._scale,
            bottom=BOTTOM_MARGIN * self._scale,
            right=width - RIGHT_MARGIN * self._scale,
            top=height - TOP_MARGIN * self._scale,
            start=snapshot.at - snapshot.request.span,
            end=snapshot.at,
            ticks=tuple(value_ticks(snapshot)),
        )


@cache
def _palette(theme: Theme) -> Image.Image:
    """Every colour that can occur, and steps between for smooth edges: to search for the best ones takes 45 ms.

    Pillow looks for the nearest by the top six bits of each channel, so a blend that is that near to a colour drawn
    in earnest stays away: white would turn grey.
    """
    run = blend_colors(theme.page, theme.highlight_color("run"), TINT_OPACITY)
    back = [
        theme.page,
        run,
        *(
            blend_colors(below, theme.highlight_color(tone), TINT_OPACITY)
            for below in (theme.page, run)
            for tone in ALARM_COLOR_ROLES
        ),
    ]
    tones = [theme.foreground_color(tone) for tone in (*ALARM_COLOR_ROLES, "run")]
    fore = [theme.ink, theme.quiet, *tones, theme.live, *theme.lines, theme.grid]
    colours: list[tuple[int, int, int]] = []
    for name in (*back, *fore, *(blend_colors(b, f, share) for share in BLEND_OPACITIES for b in back for f in fore)):
        red, green, blue = bytes.fromhex(name[1:])
        if all(abs(red - r) + abs(green - g) + abs(blue - b) > MIN_COLOR_DISTANCE for r, g, b in colours):
            colours.append((red, green, blue))
    palette = Image.new("P", (1, 1))
    palette.putpalette(bytes(channel for colour in colours[:MAX_PALETTE_COLORS] for channel in colour))
    return palette
