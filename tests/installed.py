"""Build the sdist, and the wheel from it, twice; install that into an empty environment; train, score and export there.

    python tests/installed.py                    # what `make wheel` runs: minutes, most of them pip's
    python tests/installed.py --dist dist --keep build/installed

The command is run from a folder of its own, with nothing of this source tree on Python's path. Both wheels must be the
same, byte for byte: their files are dated by SOURCE_DATE_EPOCH, or else by the last commit.
"""

import argparse
import os
import subprocess
import sys
import tarfile
import time
import venv
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from zipfile import ZipFile

PROJECT = Path(__file__).parents[1]
BUILD = "import sys; from setuptools.build_meta import build_sdist; build_sdist(sys.argv[1])"
BOX = """import lmu_hf, transformers
for name in lmu_hf.shipped.manifest():
    transformers.AutoModel.from_pretrained(lmu_hf.pretrained(name))"""
EPOCH = "SOURCE_DATE_EPOCH"  # of reproducible-builds.org: when the files of an archive were made, in seconds
ROWS = {"train.csv": 40, "test.csv": 10}  # of each class
TEXTS = {"good": "what a {} film, and so well made", "bad": "what a {} mess, and badly told"}


def main() -> None:
    """Build, install, and drive."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dist", type=Path, default=PROJECT / "dist", help="folder for both files (default: dist/)")
    parser.add_argument("--keep", type=Path, help="folder that keeps environment and runs (default: a temporary one)")
    args = parser.parse_args()
    wheel = build(args.dist.absolute())
    with TemporaryDirectory() as folder:
        place = args.keep.absolute() if args.keep else Path(folder)
        drive(install(wheel, place / "environment"), place / "elsewhere")


def build(dist: Path) -> Path:
    """Both files, checked for what they hold and for whether the wheel comes out the same again; the wheel's path."""
    if EPOCH not in os.environ:
        os.environ[EPOCH] = last_commit()
    wheel = build_once(dist)
    with TemporaryDirectory() as folder:
        again = build_once(Path(folder))
        digests = [sha256(path.read_bytes()).hexdigest() for path in (wheel, again)]
    expect(digests[0] == digests[1], f"{wheel.name} is another when it is built again: {' and '.join(digests)}")
    print(f"{wheel.name} sha256 {digests[0]}, twice")
    return wheel


def last_commit() -> str:
    """When the last commit was made, in seconds."""
    command = ["git", "log", "-1", "--format=%ct"]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    expect(done.returncode == 0, f"this is no checkout, which would say when it was made: set {EPOCH}, in seconds")
    return done.stdout.strip()


def build_once(dist: Path) -> Path:
    """Both files, checked for what they hold; the wheel's path."""
    dist.mkdir(parents=True, exist_ok=True)
    run(sys.executable, "-c", BUILD, dist, cwd=PROJECT)
    sdist = max(dist.glob("lmu_hf-*.tar.gz"), key=lambda path: path.stat().st_mtime)
    # From the sdist and not from here, so that what it lacks shows; pip's cache could hold the wheel of an earlier one.
    words = ("--quiet", "--no-deps", "--no-build-isolation", "--no-cache-dir")
    run(sys.executable, "-m", "pip", "wheel", *words, "-w", dist, sdist)
    wheel = max(dist.glob("lmu_hf-*.whl"), key=lambda path: path.stat().st_mtime)
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    expect({"LICENSE", "README.md", "pyproject.toml", "src/lmu_hf_cli.py"} <= names, f"{sdist} lacks a file")
    tops = {name.partition("/")[0] for name in ZipFile(wheel).namelist() if ".dist-info/" not in name}
    expect(tops == {"lmu_hf", "lmu_hf_cli.py"}, f"{wheel} holds {sorted(tops)}")
    return wheel


def install(wheel: Path, environment: Path) -> Path:
    """An environment with the wheel and what training and export need; the folder of its commands."""
    venv.create(environment, with_pip=True, clear=True)
    commands = environment / ("Scripts" if os.name == "nt" else "bin")
    constraints = ["--constraint", PROJECT / "constraints.txt"]
    run(commands / "python", "-m", "pip", "install", "--quiet", *constraints, f"{wheel}[train,export]")
    return commands


def drive(commands: Path, folder: Path) -> None:
    """What a new user does: look, train on a file, score, export."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in ROWS.items():
        lines = [f'"{text.format(number)}",{label}' for number in range(rows) for label, text in TEXTS.items()]
        (folder / name).write_text("review,verdict\n" + "\n".join(lines) + "\n", encoding="utf-8")
    command = commands / "lmu-hf"
    told = run(command, "doctor", cwd=folder)
    expect("missing" not in "".join(line for line in told.splitlines() if " train: " in line), told)
    columns = ["--text_column", "review", "--label_column", "verdict"]
    files = ["--train_file", "train.csv", "--test_file", "test.csv"]
    told = run(command, "train", "text", *files, *columns, "--output_dir", "run", "--overwrite_output_dir", cwd=folder)
    expect((folder / "run" / "run.json").is_file() and "test " in told, told)
    expect(
        '"accuracy": 1.0' in run(command, "evaluate", "run/model", "--json", cwd=folder), "the test rows are told apart"
    )
    run(command, "export", "run/model", "onnx", cwd=folder)
    expect((folder / "onnx" / "model.onnx").stat().st_size > 0, "model.onnx is written")
    run(commands / "python", "-c", BOX, cwd=folder)


def run(*words: object, cwd: Path | None = None) -> str:
    """Run a command and say how long it took; what it printed."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    start = time.perf_counter()
    done = subprocess.run(
        list(map(str, words)), cwd=cwd, env=environment, stdout=subprocess.PIPE, text=True, check=False
    )
    said = " ".join(Path(word).name if os.sep in word else word for word in map(str, words[:4]) if "\n" not in word)
    print(f"{time.perf_counter() - start:6.1f} s  {said[:90]}", flush=True)
    expect(done.returncode == 0, f"{said} failed:\n{done.stdout}")
    return done.stdout


def expect(holds: bool, otherwise: str) -> None:
    """End with a message where something does not hold."""
    if not holds:
        raise SystemExit(f"installed.py: error: {otherwise}")


if __name__ == "__main__":
    main()
