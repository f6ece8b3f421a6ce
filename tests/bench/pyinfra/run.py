"""How long `deploy.py` takes on ten containers of a real LXD, by our connector and by that of
`pyinfra-lxd-api-connector`, in turns: on the spot, and from a server that is made to be far away.

`cargo xtask bench pyinfra` runs it. It makes the containers and removes them."""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import ssl
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from time import perf_counter

HERE = Path(__file__).parent
OPERATIONS = 40


def main() -> None:
    asked = arguments()
    lab = dict(
        line.split("=", 1) for line in (asked.lab / "lab.env").read_text().splitlines() if "=" in line
    )
    cpus = len(os.sched_getaffinity(0))
    print(f"{OPERATIONS} operations on {asked.hosts} containers, wall time of pyinfra in s, {cpus} CPUs")
    for round_trip in asked.round_trip:
        with ExitStack() as stack:
            place = lab["https"]
            if round_trip:
                place = stack.enter_context(delayed(asked.boxherd, place, round_trip))
            measure(asked, lab, place, round_trip, stack)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--boxherd", type=Path, required=True, help="the program, a release build")
    parser.add_argument("--ours", type=Path, required=True, help="a folder with pyinfra and our package")
    parser.add_argument("--peer", type=Path, required=True, help="a folder with pyinfra and the peer")
    parser.add_argument("--lab", type=Path, required=True, help="the folder of `cargo xtask lab lxd`")
    parser.add_argument("--hosts", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--round-trip", type=int, nargs="*", default=[0, 27], help="in ms")
    return parser.parse_args()


@contextmanager
def delayed(program: Path, place: str, round_trip: int) -> Iterator[str]:
    """The same server, so far away."""
    with subprocess.Popen(
        [program, "bench", "delay", place, "--round-trip", f"{round_trip}ms"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip().removeprefix("listening on ")


def measure(
    asked: argparse.Namespace, lab: dict[str, str], place: str, round_trip: int, stack: ExitStack
) -> None:
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="boxherd-bench-")))
    data = folder / "data"
    add_engine(asked.boxherd, data, lab, place)
    # The peer reads what `lxc` does, at its only place.
    shutil.copytree(data / "engines/lab", folder / ".config/lxc")
    stack.callback(forget, lab, data / "engines/lab/client.crt")
    names = [f"bench-{os.getpid()}-{number}" for number in range(asked.hosts)]
    boxes = [f"lab:{name}" for name in names]
    stack.callback(boxherd, asked.boxherd, data, "rm", "--force", *boxes)
    for box in boxes:
        boxherd(asked.boxherd, data, "create", box)
    contenders = {
        "boxherd": (asked.ours, [f"@boxherd/{box}" for box in boxes]),
        "peer": (asked.peer, [f"@lxd_api/server:{name}" for name in names]),
    }
    variables = {"BOXHERD_BIN": str(asked.boxherd), "BOXHERD_DATA": str(data), "HOME": str(folder)}
    took: dict[str, list[float]] = {name: [] for name in contenders}
    load = os.getloadavg()[0]
    for number in range(asked.rounds + 1):
        for name, (place_of, hosts) in contenders.items():
            took[name].append(deploy(place_of, hosts, f"{name[0]}{number}", variables))
    report(round_trip, load, took)


def add_engine(program: Path, data: Path, lab: dict[str, str], place: str) -> None:
    host, port = place.split(":")
    certificate = ssl.PEM_cert_to_DER_cert(ssl.get_server_certificate((host, int(port))))
    fingerprint = hashlib.sha256(certificate).hexdigest()
    boxherd(
        program, data, "engine", "add", "lab", "--lxd", f"https://{place}", "--password-file", "-",
        "--fingerprint", fingerprint, "--image", "deb12", "--pool", "bt", stdin=lab["password"],
    )  # fmt: skip


def forget(lab: dict[str, str], certificate: Path) -> None:
    """Has the server trust us no more."""
    fingerprint = hashlib.sha256(ssl.PEM_cert_to_DER_cert(certificate.read_text())).hexdigest()
    variables = {**os.environ, "LXD_DIR": str(Path(lab["socket"]).parent)}
    subprocess.run(["lxc", "config", "trust", "remove", fingerprint], env=variables, check=True)


def boxherd(program: Path, data: Path, *args: str, stdin: str = "") -> None:
    done = subprocess.run(
        [program, "--data", data, *args], input=stdin, text=True, capture_output=True
    )
    if done.returncode != 0:
        sys.exit(f"`boxherd {' '.join(args[:3])}`: {done.stderr}")


def deploy(place: Path, hosts: list[str], tag: str, variables: dict[str, str]) -> float:
    """One run of pyinfra, which must end well; returns how long it took, in seconds."""
    start = perf_counter()
    done = subprocess.run(
        [place / "bin/pyinfra", "-y", ",".join(hosts), "deploy.py",
         "--data", f"root=/srv/{tag}", "--data", f"tag={tag}"],
        cwd=HERE, env={**os.environ, **variables, "PYTHONDONTWRITEBYTECODE": "1"},
        text=True, capture_output=True, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    took = perf_counter() - start
    if done.returncode != 0:
        sys.exit(f"pyinfra on {hosts[0]} …: {done.stdout[-2000:]}{done.stderr[-4000:]}")
    return took


def report(round_trip: int, load: float, took: dict[str, list[float]]) -> None:
    print(f"\n{round_trip} ms, load {load:.2f} before and {os.getloadavg()[0]:.2f} after")
    print(f"  {'':<10}{'n':>4}{'first':>8}{'min':>8}{'p50':>8}{'max':>8}{'ratio':>8}")
    ours = statistics.median(took["boxherd"][1:])
    for name, (first, *rest) in took.items():
        p50 = statistics.median(rest)
        numbers = "".join(f"{number:8.2f}" for number in (first, min(rest), p50, max(rest)))
        ratio = "" if name == "boxherd" else f"{p50 / ours:7.2f}×"
        print(f"  {name:<10}{len(rest):>4}{numbers}{ratio}")


main()
