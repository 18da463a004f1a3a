"""The table of the models in the box: what each reads, how it scores, and how large it is."""

from lmu_hf.common.record import RunRecord
from lmu_hf.hub import markup
from lmu_hf.hub.kinds import kind_of
from lmu_hf.shipped import FOLDER, manifest


def render() -> dict[str, str]:
    """The table of the page, by the name between its markers."""
    lines = []
    for name in manifest():
        record, folder = RunRecord.read(FOLDER / name), FOLDER / name
        score = record.metrics.get("test", record.metrics["validation"])[record.metric]
        shown = f"{100 * score:.2f} %" if record.metric == "accuracy" else f"{score:.3f}"
        split = "test" if "test" in record.metrics else "validation"
        said = f"{split} {record.metric.replace('_', ' ')} {shown}"
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        cells = [f"`{name}`", kind_of(record).pipeline_tag, record.data["name"], said]
        lines.append([*cells, f"{record.parameters['total']:,}", f"{size / 1e6:.1f} MB"])
    return {"box": markup.table(["name", "task", "data", "score", "parameters", "size"], lines)}
