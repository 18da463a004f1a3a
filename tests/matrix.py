"""Run the tests, the README's code and the demo with the oldest, pinned and newest releases of our requirements.

python tests/matrix.py                              # every environment, everything: `make matrix`, about an hour
python tests/matrix.py newest --keep torch -- -k generation   # one environment, torch as pinned, and words for pytest

An environment is made anew below build/matrix, from pyproject.toml's lower bounds, from constraints.txt, or from
whatever pip finds newest. What was installed and how it went is printed, and written to a record with --output.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tomllib
import venv
from importlib.metadata import Distribution
from pathlib import Path

from packaging.requirements import Requirement

PROJECT = Path(__file__).parent.parent
TOOLS = "dev"  # the extra that no user installs: its tools are taken as they are pinned
DOCS = "docs"  # the site's tools, which TOOLS holds: taken as they are pinned, too
OTHERS = ("peers", "ecosystem")  # what others are compared in, and what works with us: environments of their own
# What this folder says of the matrix's own record is not a question to an environment.
TESTS = [
    "--numprocesses",
    "2",
    "--dist",
    "worksteal",
    "-m",
    "not slow and not ecosystem",
    "--ignore",
    "tests/test_matrix.py",
]
TESTS += ["--deselect", "tests/test_readme.py::test_tables_of_the_readme_and_the_docs_are_what_the_records_say"]
ENVIRONMENTS = ("floor", "pinned", "newest")
README = ["tests/test_readme.py", "-k", "python or example"]


def requirements(tools: bool = False) -> list[Requirement]:
    """What pyproject.toml asks for: of a user, or of a developer."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    used = [project["dependencies"], *(extras[name] for name in extras if name not in (TOOLS, DOCS, *OTHERS))]
    lines = extras[TOOLS] + extras[DOCS] if tools else [line for group in used for line in group]
    return [requirement for requirement in map(Requirement, lines) if requirement.name != project["name"]]


def pins() -> dict[str, str]:
    """constraints.txt, by names in lower case."""
    lines = (PROJECT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return {line.split("==")[0].lower(): line for line in lines if line and not line.startswith("#")}


def floor(requirement: Requirement) -> str:
    """The oldest release that a requirement allows, as a constraint.

    Raises:
        ValueError: it has no lower bound.
    """
    bounds = [part.version for part in requirement.specifier if part.operator == ">="]
    if not bounds:
        raise ValueError(f"pyproject.toml: {requirement} needs a lower bound, as in {requirement.name}>=1.0")
    return f"{requirement.name}=={bounds[0]}"


def constraints(environment: str, keep: list[str]) -> list[str]:
    """What pip is held to in an environment; ``keep`` names packages that are as constraints.txt has them."""
    if environment == "pinned":
        return list(pins().values())
    kept = [pins()[name.lower()] for name in keep]
    if environment == "newest":
        return kept
    tools = [pins()[tool.name.lower()] for tool in requirements(tools=True)]
    return kept + tools + [floor(found) for found in requirements() if found.name not in keep]


def newer(names: list[str]) -> list[str]:
    """Of which packages pip finds a newer release than constraints.txt has: that release of each."""
    found = []
    for name in names:
        command = [sys.executable, "-m", "pip", "index", "versions", name, "--disable-pip-version-check"]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        latest = f"{name}=={said.partition('(')[2].partition(')')[0]}"  # its first line: name (newest)
        if latest != pins()[name.lower()]:
            found.append(latest)
    return found


def build(environment: str, keep: list[str], reuse: bool, extras: str = TOOLS, name: str | None = None) -> Path:
    """Make an environment and install the package into it, with everything that its tests need; its Python."""
    folder = PROJECT / "build" / "matrix" / (name or environment)
    python = folder / "bin" / "python"
    if reuse and python.exists():
        return python
    venv.create(folder, with_pip=True, clear=True)
    held = folder / "constraints.txt"
    held.write_text("\n".join(constraints(environment, keep)) + "\n", encoding="utf-8")
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--constraint", held]
    subprocess.run([*install, "--editable", f"{PROJECT}[{extras}]"], check=True)
    return python


def versions(python: Path) -> dict[str, str]:
    """The releases of what pyproject.toml asks of a user, and of Python, as they are installed."""
    [packages] = python.parent.parent.glob("lib/python*/site-packages")
    found = {package.name.lower(): package.version for package in Distribution.discover(path=[str(packages)])}
    said = subprocess.run([python, "--version"], capture_output=True, text=True, check=True).stdout.split()[1]
    return {"python": said} | {name: found[name.lower()] for name in sorted({needed.name for needed in requirements()})}


def commit() -> str:
    """The commit that is tested."""
    command = ["git", "rev-parse", "HEAD"]
    return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True).stdout.strip()


def run_tests(python: Path, words: list[str]) -> dict[str, int]:
    """Run pytest and count how its tests ended."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    command = [python, "-m", "pytest", *words]
    with subprocess.Popen(command, cwd=PROJECT, env=environment, stdout=subprocess.PIPE, text=True) as running:
        last = ""
        for line in running.stdout or ():
            print(line, end="", flush=True)
            last = line if re.search(r"\d+ (passed|failed|error)", line) else last
    counts = {word: int(number) for number, word in re.findall(r"(\d+) (passed|failed|skipped|errors?)", last)}
    if running.returncode not in (0, 1) or not counts:
        raise SystemExit(f"pytest ended with status {running.returncode} before it could count its tests")
    return counts


def run(environment: str, keep: list[str], reuse: bool, words: list[str]) -> dict:
    """Everything in one environment: what is installed there, and how tests, README and demo went."""
    python = build(environment, keep, reuse)
    result: dict = {"environment": environment, "commit": commit(), "versions": versions(python), "kept": keep}
    print(environment, *(f"{name} {version}" for name, version in result["versions"].items()), sep=", ", flush=True)
    if words:
        return result | {"tests": run_tests(python, words)}
    result["tests"] = run_tests(python, TESTS)
    result["readme"] = run_tests(python, README)
    result["demo"] = subprocess.run([python, PROJECT / "scripts" / "demo.py"], cwd=PROJECT, check=False).returncode
    return result


def run_again(earlier: dict, tests: list[str]) -> dict:
    """An environment's result with the tests that failed run again, alone; it says so, with the commit.

    Raises:
        SystemExit: these are not as many tests as failed.
    """
    failed = earlier["tests"].get("failed", 0)
    counts = run_tests(build(earlier["environment"], earlier["kept"], reuse=True), tests)
    if sum(counts.values()) != failed:
        raise SystemExit(f"matrix.py: error: {failed} tests failed in {earlier['environment']}; --again names others")
    others = {word: number for word, number in earlier["tests"].items() if word != "failed"}
    together = {word: others.get(word, 0) + counts.get(word, 0) for word in others | counts}
    return earlier | {"tests": together, "again": {"commit": commit(), "tests": counts}}


def write(path: Path, result: dict) -> None:
    """Put an environment's result in the place of its earlier one."""
    others = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    results = {other["environment"]: other for other in others} | {result["environment"]: result}
    ordered = [results[name] for name in ENVIRONMENTS if name in results]
    path.write_text(json.dumps(ordered, indent=2) + "\n", encoding="utf-8")


def is_good(result: dict) -> bool:
    """Whether nothing failed."""
    counts = [result["tests"], result.get("readme", {})]
    failures = [count[word] for count in counts for word in ("failed", "error", "errors") if word in count]
    return not any(failures) and not result.get("demo")


def main(argv: list[str] | None = None) -> int:
    """Parse, run, print, write; 0 if everything passed everywhere."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter, allow_abbrev=False)
    parser.add_argument("environments", nargs="*", metavar="ENVIRONMENT", help=", ".join(ENVIRONMENTS))
    parser.add_argument(
        "--keep", nargs="+", default=[], metavar="PACKAGE", help="take these as constraints.txt pins them"
    )
    parser.add_argument(
        "--if_newer", nargs="+", default=[], metavar="PACKAGE", help="run only if one of these is newer than its pin"
    )
    parser.add_argument("--reuse", action="store_true", help="use an environment that is there as it is")
    parser.add_argument("--again", nargs="+", metavar="TEST", help="run again what failed in --output's record, alone")
    parser.add_argument("--output", type=Path, help="write the result to this JSON file")
    argv = sys.argv[1:] if argv is None else argv
    ours, words = (argv[: argv.index("--")], argv[argv.index("--") + 1 :]) if "--" in argv else (argv, [])
    args = parser.parse_args(ours)
    for name in args.environments:
        if name not in ENVIRONMENTS:
            parser.error(f"unknown environment {name!r}: choose from {', '.join(ENVIRONMENTS)}")
    for flag, names in (("--keep", args.keep), ("--if_newer", args.if_newer)):
        for name in names:
            if name.lower() not in pins():
                parser.error(f"{flag} {name}: constraints.txt pins no such package")
    if args.if_newer and not (latest := newer(args.if_newer)):
        print(f"nothing to run: constraints.txt has the newest {', '.join(args.if_newer)}")
        return 0
    if args.if_newer:
        print("newer than constraints.txt:", ", ".join(latest), flush=True)
    chosen = args.environments or ENVIRONMENTS
    results = []
    for name in filter(chosen.__contains__, ENVIRONMENTS):
        if args.again:
            records = json.loads(args.output.read_text(encoding="utf-8"))
            results.append(run_again(next(one for one in records if one["environment"] == name), args.again))
        else:
            results.append(run(name, args.keep, args.reuse, words))
        if args.output:
            write(args.output, results[-1])
    for result in results:
        print(result["environment"], "passed" if is_good(result) else "FAILED", json.dumps(result["tests"]))
    return 0 if all(map(is_good, results)) else 1


if __name__ == "__main__":
    sys.exit(main())
