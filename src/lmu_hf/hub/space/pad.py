"""Places to draw: canvases whose value is their strokes, as JSON lists of points between 0 and 1."""

import json

import numpy as np
from PIL import Image, ImageDraw

from .page import gr

LONGEST = 1_000_000  # characters of a drawing
TEMPLATE = """
<canvas></canvas>
<button type="button" data-clear>Clear</button>
"""
# CSS with doubled braces, for str.format. Height and colours are set here, since a canvas has none of the page's own.
STYLE = """
padding: 0; width: {width}; max-width: 100%;
canvas {{ width: 100%; {height}; background: var(--background-fill-primary); touch-action: none; cursor: crosshair;
  border: 1px solid var(--border-color-primary); border-radius: 8px; display: block; box-sizing: border-box; }}
button {{ display: block; margin: 6px 0 0 auto; font-size: 12px; padding: 2px 10px; border-radius: 6px;
  border: 1px solid var(--border-color-primary); background: var(--background-fill-secondary);
  color: var(--body-text-color); cursor: pointer; }}
"""
# Gradio runs this once, with the component as `element` and its value as `props.value`.
SCRIPT = """
let strokes = [], drawing = false;
const BAND = props.band || 0;  // pixels under the drawing that are not drawn on
const colour = (name) => getComputedStyle(element).getPropertyValue(name).trim();
const area = () => {
  const canvas = element.querySelector('canvas');
  return { canvas, width: canvas.clientWidth, height: canvas.clientHeight - BAND };
};
const ink = (context, width, height) => {
  context.lineWidth = props.brush * width; context.lineCap = context.lineJoin = 'round';
  context.strokeStyle = colour('--body-text-color');
  for (const stroke of strokes) {
    context.beginPath();
    stroke.forEach(([x, y], i) => context[i ? 'lineTo' : 'moveTo'](x * width, y * height));
    if (stroke.length === 1) context.lineTo(stroke[0][0] * width + 0.1, stroke[0][1] * height);
    context.stroke();
  }
};
const paint = () => {
  if (!element.querySelector('canvas')) return;
  const { canvas, width, height } = area();
  if (!width) return;  // in a tab that is not shown
  const scale = window.devicePixelRatio || 1;
  canvas.width = width * scale; canvas.height = (height + BAND) * scale;
  const context = canvas.getContext('2d');
  context.scale(scale, scale);
  PAINT
};
const point = (event) => {
  const { canvas, width, height } = area(), box = canvas.getBoundingClientRect();
  return [(event.clientX - box.left) / width, Math.min(1, (event.clientY - box.top) / height)];
};
const done = () => { props.value = JSON.stringify(strokes); requestAnimationFrame(paint); trigger('change'); };
element.addEventListener('pointerdown', (event) => {
  if (event.target.tagName !== 'CANVAS') return;
  if (props.single) strokes = [];
  drawing = true; strokes.push([point(event)]); paint(); event.preventDefault();
});
window.addEventListener('pointermove', (event) => {
  if (drawing) { strokes[strokes.length - 1].push(point(event)); paint(); }
});
for (const end of ['pointerup', 'pointercancel'])
  window.addEventListener(end, () => { if (drawing) { drawing = false; done(); } });
element.addEventListener('click', (event) => {
  if (event.target.hasAttribute('data-clear')) { strokes = []; done(); }
});
new MutationObserver(paint).observe(element, { childList: true, characterData: true, subtree: true });
new MutationObserver(paint).observe(document.body, { attributes: true, attributeFilter: ['class'] });  // dark or light
new ResizeObserver(paint).observe(element);
"""
# The signal, the window and what is decoded of it, on the axis that is drawn on.
PAINT_SIGNAL = """
  const { signal, decoded, begin, moment } = JSON.parse(props.shown), steps = signal.length;
  const x = (step) => step / steps * width, y = (value) => (1 - value) / 2 * height;
  const accent = colour('--lmu-accent'), text = colour('--body-text-color'),
    faint = colour('--body-text-color-subdued');
  context.font = '12px sans-serif'; context.fillStyle = text;
  for (let step = 0; step <= steps; step += width < 500 ? 200 : 100) {
    context.textAlign = step === 0 ? 'left' : step === steps ? 'right' : 'center';
    context.fillText(step === steps ? `step ${step}` : step, x(step) + (step === 0 ? 4 : step === steps ? -4 : 0),
      height + BAND - 8);
    context.fillRect(x(step), height, 1, 5);
  }
  context.fillRect(0, height, width, 1);
  if (drawing) { ink(context, width, height); return; }
  context.fillStyle = accent; context.globalAlpha = 0.12;
  context.fillRect(x(Math.max(0, begin)), 0, x(moment) - x(Math.max(0, begin)), height); context.globalAlpha = 1;
  const line = (values, first, shade, thick) => {
    context.beginPath(); context.strokeStyle = shade; context.lineWidth = thick; context.lineJoin = 'round';
    values.forEach((value, i) => context[i ? 'lineTo' : 'moveTo'](x(first + i), y(value))); context.stroke();
  };
  context.save(); context.beginPath(); context.rect(0, 0, width, height); context.clip();
  context.globalAlpha = 0.6; line(signal, 0, faint, 4); context.globalAlpha = 1; line(decoded, begin, accent, 2.5);
  context.restore();
"""


def sketchpad(side: int, brush: int, elem_id: str) -> gr.HTML:
    """A square canvas of so many pixels, drawn on with a round brush."""
    return gr.HTML(
        "[]",
        html_template=TEMPLATE,
        css_template=STYLE.format(width=f"{side}px", height="aspect-ratio: 1"),
        js_on_load=SCRIPT.replace("PAINT", "ink(context, width, height);"),
        elem_id=elem_id,
        brush=brush / side,
    )


def signal_pad(shown: str, elem_id: str) -> gr.HTML:
    """A wide canvas for one line from left to right, on which the window of a memory is shown.

    Args:
        shown: a JSON object with the ``signal``, what is ``decoded`` of its window, the step at which the window
            ``begin``s, and the ``moment`` at which it ends.
        elem_id: of the component.
    """
    return gr.HTML(
        "[]",
        # The page is told of a new picture by a hidden text: a script that names the prop in quotes would make gradio
        # take it for an event.
        html_template=TEMPLATE + "<i hidden>${shown}</i>",
        css_template=STYLE.format(width="100%", height="height: 260px"),
        js_on_load=SCRIPT.replace("PAINT", PAINT_SIGNAL),
        elem_id=elem_id,
        brush=0.005,
        band=28,
        single=True,
        shown=shown,
    )


def _points(strokes: str | None) -> list[list[tuple[float, float]]]:
    if not isinstance(strokes, str | None):
        raise ValueError(f"a drawing is a JSON list of strokes, got {type(strokes).__name__}")
    if len(strokes or "") > LONGEST:
        raise ValueError(f"the drawing has {len(strokes or ''):,} characters; here at most {LONGEST:,} are read")
    try:
        lines = [[(float(x), float(y)) for x, y in stroke] for stroke in json.loads(strokes or "[]")]
    # OverflowError: an integer too large for a float. RecursionError: lists nested too deep.
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise ValueError(f"a drawing is a JSON list of strokes, each a list of points: {error}") from None
    # The mouse may leave the canvas while it draws, but not the screen.
    if not all(abs(part) <= 100 for line in lines for point in line for part in point):
        raise ValueError("a drawing's points lie between 0 and 1, or somewhat outside")
    return lines


def ink_of(strokes: str | None, width: int, height: int, brush: int) -> np.ndarray:
    """How much ink each pixel of a drawing holds, (height, width) uint8.

    Raises:
        ValueError: that is no drawing.
    """
    canvas = Image.new("L", (width, height))
    draw = ImageDraw.Draw(canvas)
    for stroke in _points(strokes):
        line = [(x * width, y * height) for x, y in stroke]
        draw.line(line, fill=255, width=brush, joint="curve")
        # Round ends and dots, as the browser draws them: a line of one point leaves no ink.
        for x, y in line:
            draw.ellipse((x - brush / 2, y - brush / 2, x + brush / 2, y + brush / 2), fill=255)
    return np.asarray(canvas)
