"""A place to draw: a canvas whose value is its strokes, as JSON lists of points between 0 and 1."""

import json

import gradio as gr
import numpy as np
from PIL import Image, ImageDraw

TEMPLATE = """
<canvas width="{width}" height="{height}"></canvas>
<button type="button" data-clear>Clear</button>
"""
# CSS with doubled braces, for str.format.
STYLE = """
position: relative; width: fit-content;
canvas {{ width: {width}px; max-width: 100%; height: {height}px; background: #fff; border: 1px solid #d4d8de;
  border-radius: 8px; touch-action: none; cursor: crosshair; display: block; }}
button {{ position: absolute; right: 8px; top: 8px; font-size: 12px; padding: 2px 10px; border-radius: 6px;
  border: 1px solid #d4d8de; background: #f6f7f9; color: #1f2933; cursor: pointer; }}
"""
LONGEST = 1_000_000  # characters of a drawing
# Gradio runs this once, with the component as `element` and its value as `props.value`.
SCRIPT = """
let strokes = [], drawing = false;
const paint = () => {
  const canvas = element.querySelector('canvas');
  if (!canvas) return;
  const context = canvas.getContext('2d');
  context.clearRect(0, 0, canvas.width, canvas.height);
  context.lineWidth = BRUSH; context.lineCap = context.lineJoin = 'round'; context.strokeStyle = '#1f2933';
  for (const stroke of strokes) {
    context.beginPath();
    stroke.forEach(([x, y], i) => context[i ? 'lineTo' : 'moveTo'](x * canvas.width, y * canvas.height));
    if (stroke.length === 1) context.lineTo(stroke[0][0] * canvas.width + 0.1, stroke[0][1] * canvas.height);
    context.stroke();
  }
};
const point = (event) => {
  const box = element.querySelector('canvas').getBoundingClientRect();
  return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
};
const done = () => { props.value = JSON.stringify(strokes); requestAnimationFrame(paint); trigger('change'); };
element.addEventListener('pointerdown', (event) => {
  if (event.target.tagName !== 'CANVAS') return;
  drawing = true; strokes.push([point(event)]); paint(); event.preventDefault();
});
window.addEventListener('pointermove', (event) => {
  if (drawing) { strokes[strokes.length - 1].push(point(event)); paint(); }
});
window.addEventListener('pointerup', () => { if (drawing) { drawing = false; done(); } });
element.addEventListener('click', (event) => {
  if (event.target.hasAttribute('data-clear')) { strokes = []; done(); }
});
new MutationObserver(paint).observe(element, { childList: true, subtree: true });
"""


def sketchpad(width: int, height: int, brush: int, elem_id: str) -> gr.HTML:
    """A canvas of so many pixels, drawn on with a round brush."""
    return gr.HTML(
        "[]",
        html_template=TEMPLATE.format(width=width, height=height),
        css_template=STYLE.format(width=width, height=height),
        js_on_load=SCRIPT.replace("BRUSH", str(brush)),  # no str.format: the braces are JavaScript's
        elem_id=elem_id,
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
