"""The tables of speed, from what the benchmarks left in their JSON files: every row, and summaries of them."""

import json
from pathlib import Path

from lmu_hf.hub import markup

PLAIN = "avx2"  # folder of the records of a processor without AVX-512, below the others


def render(folder: Path) -> dict[str, str]:
    """Every table of speed, by the name between its markers: summaries, and every row."""
    speed, training, generation = measured = _measured(folder)
    return {
        **_summaries(measured),
        **_summaries(_measured(folder / PLAIN), f"-{PLAIN}"),
        "speed": speed_table(speed),
        "training": training_table(training),
        "generation": generation_table(generation),
        "positions": position_table(generation),
    }


def _summaries(measured: list[dict], ending: str = "") -> dict[str, str]:
    """The summaries of a processor's records, by names that end in a way of their own."""
    speed, training, generation = measured
    summaries = {
        "speed-summary": speed_summary(speed),
        "training-summary": training_summary(training),
        "generation-summary": generation_summary(generation),
        "machines": machines({"memory": speed, "training": training, "generation": generation}),
    }
    return {name + ending: table for name, table in summaries.items()}


def _measured(folder: Path) -> list[dict]:
    """What the benchmarks of the memory, of training and of generation left."""
    paths = (folder / f"benchmark_{name}.json" for name in ("memory", "training", "generation"))
    return [json.loads(path.read_text(encoding="utf-8")) for path in paths]


# --------------------------------------------------------------------------- every row


def speed_table(result: dict) -> str:
    """What `benchmarks/benchmark_memory.py` measured at every shape, as it left it in its JSON file."""
    header = ["shape", "form of the memory", "outputs", "device", "milliseconds", "peak, MiB", "times the floor"]
    header += ["against the loop", "against the FFT"]
    rows = []
    for row in result["rows"]:
        cells = [_shape(row["shape"], result["shapes"][row["shape"]]), row["form"], row["outputs"], row["device"]]
        if "skipped" in row:
            rows.append([*cells, f"not measured: {row['skipped']}", *[""] * (len(header) - 5)])
            continue
        floor = "" if row["times_floor"] is None else f"{row['times_floor']:.3g}"
        measured = [f"{row['milliseconds']:.4g}", f"{row['peak_bytes'] / 2**20:.0f}", floor]
        rows.append([*cells, *measured, *_faster(row)])
    return markup.table(header, rows)


def _shape(name: str, sizes: dict) -> str:
    return f"{name}: " + ", ".join(f"{letter} = {size:,.10g}" for letter, size in sizes.items())


def generation_table(result: dict) -> str:
    """What `benchmarks/benchmark_generation.py` measured of every model, as it left it in its JSON file."""
    header = ["size", "batch", "prompt", "model", "parameters", "prefill, ms", "tokens a second"]
    header += ["times as fast: LMU stream", "LMU generate", "LMU prefill"]
    rows = []
    for row in result["rows"]:
        cell = [f"{row['size'] / 1e6:.3g} M", str(row["batch"]), f"{row['prompt']:,}"]
        if "skipped" in row:
            rows.append([*cell, f"not measured: {row['skipped']}", *[""] * (len(header) - 4)])
            continue
        ratios = (row.get(f"{way}_ratio") for way in ("stream", "generate", "prefill"))
        numbers = [f"{row['parameters']:,}", f"{1e3 * row['prefill_seconds']:.4g}", f"{row['tokens_per_second']:.4g}"]
        rows.append([*cell, row["model"], *numbers, *("" if ratio is None else f"{ratio:.3g} x" for ratio in ratios)])
    return markup.table(header, rows)


def training_table(result: dict) -> str:
    """What `benchmarks/benchmark_training.py` measured of every model, as it left it in its JSON file."""
    header = ["size", "length", "products", "batch", "model", "parameters", "characters a second", "LMU, times as fast"]
    rows = []
    for row in result["rows"]:
        cell = [f"{row['size'] / 1e6:.3g} M", f"{row['length']:,}", _products(row)]
        if "skipped" in row:
            rows.append([*cell, f"not measured: {row['skipped']}", *[""] * (len(header) - 4)])
            continue
        numbers = [f"{row['parameters']:,}", f"{row['characters_per_second']:,.0f}", ""]
        numbers[-1] = "" if row["lmu_ratio"] is None else f"{row['lmu_ratio']:.3g} x"
        rows.append([*cell, str(row["batch"]), row["model"], *numbers])
    return markup.table(header, rows)


def _products(row: dict) -> str:
    """How a row of training made its products; records of before there was a choice had float32, not compiled."""
    return row.get("precision", "float32") + (", compiled" if row.get("compiled") else "")


def machines(results: dict[str, dict]) -> str:
    """Where each benchmark ran. Records of earlier versions do not name their processor."""
    rows = []
    for name, result in results.items():
        hardware, versions = result["hardware"], result["versions"]
        processor = hardware.get("accelerator") or hardware.get("processor", f"{hardware['machine']}, not said")
        libraries = ", ".join(f"{part} {versions[part]}" for part in ("torch", "mkl", "onednn") if part in versions)
        sets = ", ".join(hardware.get("instructions", ["not said"]))
        rows.append([name, processor, sets, str(hardware["threads"]), libraries])
    return markup.table(["benchmark", "processor", "instruction sets", "threads", "libraries"], rows)


def position_table(result: dict) -> str:
    """A token's time along one stream, from the same file."""
    rows = [[f"{row['position']:,}", f"{row['microseconds']:.0f}"] for row in result["positions"]["rows"]]
    return markup.table(["position in the stream", "microseconds a token"], rows)


# --------------------------------------------------------------------------- summaries


def speed_summary(result: dict) -> str:
    """Of every shape, the ways that an LMU layer takes: to all outputs and, where a head reads only it, to the last."""
    header = ["layer", "all outputs, ms", "of the floor", "as fast as the loop", "as the FFT", "its memory"]
    header += ["last output, ms", "as fast as the loop", "as the FFT", "whole layer, of the floor"]
    rows = []
    for name, sizes in result["shapes"].items():
        forms = {row["form"]: row for row in result["rows"] if row["shape"] == name and "skipped" not in row}
        every = next(row for form, row in forms.items() if "readout, blocks" in form)
        last, fft = forms["final"], forms.get("fft")
        rows.append([_shape(name, sizes), f"{every['milliseconds']:.4g}"])
        rows[-1] += ["" if every["times_floor"] is None else f"{every['times_floor']:.3g}", *_faster(every)]
        rows[-1].append("" if fft is None else f"{every['peak_bytes'] / fft['peak_bytes']:.2g}")
        whole = next((row["times_floor"] for form, row in forms.items() if form.startswith("whole layer")), None)
        rows[-1] += [f"{last['milliseconds']:.4g}", *_faster(last), "" if whole is None else f"{whole:.3g}"]
    return markup.table(header, rows)


def _faster(row: dict) -> list[str]:
    """How many times as fast as the loop and as the FFT, where they were measured."""
    ratios = (row["times_recurrent"], row["times_fft"])
    return ["" if ratio is None else f"{1 / ratio:.3g} x" for ratio in ratios]


def training_summary(result: dict) -> str:
    """Of every size and length, the LMU's speed, and how many times as fast it is as each other model."""
    rows = [row | {"products": _products(row)} for row in result["rows"]]
    return _against(rows, ("size", "length", "products"), "LMU", "characters_per_second", "characters a second")


def generation_summary(result: dict) -> str:
    """Of every size, batch and prompt, the speed of ``generate`` and how many times as fast it is as each other way."""
    rows = [row for row in result["rows"] if "stream" not in row.get("model", "")]
    return _against(rows, ("size", "batch", "prompt"), "LMU, generate", "tokens_per_second", "tokens a second")


def headlines(folder: Path) -> str:
    """The README's four rows: one layer, two trainings and a generation, each beside what else there is."""
    memory, training, generation = _measured(folder)
    last = next(row for row in memory["rows"] if row["shape"] == "psmnist" and row["form"] == "final")
    loop = 1 / last["times_recurrent"]
    rows = [
        [
            "last output of the psMNIST layer, forward and backward",
            f"{last['milliseconds']:.3g} ms",
            f"{loop:.0f} × the loop",
        ]
    ]
    for size in (2e6, 20e6):
        speeds = {
            row["model"]: row["characters_per_second"]
            for row in training["rows"]
            if (row["size"], row["length"], _products(row)) == (size, 4096, "float32")
        }
        said = f"{speeds['LMU']:,.0f} characters/s"
        rows.append([f"training of {size / 1e6:.0f} M parameters on 4,096 characters", said, _beside(speeds, "LMU")])
    speeds = {
        row["model"].partition(",")[0]: row["tokens_per_second"]
        for row in generation["rows"]
        if (row.get("size"), row.get("batch"), row.get("prompt")) == (2e6, 1, 16)
        and row["model"] in ("LMU, generate", "GPT-2, generate", "Mamba, generate", "LSTM, loop")
    }
    rows.append(["generation with 2 M parameters", f"{speeds['LMU']:,.0f} tokens/s", _beside(speeds, "LMU")])
    return markup.table(["what", "LMU", "times the speed of"], rows)


def _beside(speeds: dict[str, float], ours: str) -> str:
    return ", ".join(f"{speeds[ours] / speed:.2g} × {name}" for name, speed in speeds.items() if name != ours)


def _against(rows: list[dict], places: tuple[str, ...], ours: str, speed: str, unit: str) -> str:
    others = list(dict.fromkeys(row["model"] for row in rows if row.get("model", ours) != ours))
    cells: dict[tuple, dict[str, float]] = {}
    for row in rows:
        if "model" in row:
            cells.setdefault(tuple(row[place] for place in places), {})[row["model"]] = row[speed]
    table = []
    for at, speeds in cells.items():
        ratios = [f"{speeds[ours] / speeds[other]:.3g} x" if other in speeds else "" for other in others]
        where = [place if isinstance(place, str) else f"{place:,}" for place in at[1:]]
        table.append([f"{at[0] / 1e6:.3g} M", *where, f"{speeds[ours]:,.0f}", *ratios])
    return markup.table([*places, f"LMU, {unit}", *others], table)
