"""What is installed, what serves each operator, whether operators run, and whether a config's data are sound.

python -m medkit.doctor
python -m medkit.doctor --config configs/centernet_liver.py --data-root data/liver

Ends with status 0 when all is well; with status 1 and one line per trouble, each naming its cure, when not.
"""

import argparse
import importlib
import platform
import shutil
import sys
import time
from importlib import metadata

PACKAGES = ("torch", "torchvision", "mmengine", "mmcv", "mmdet", "mmpretrain", "numpy", "cv2", "pycocotools")

_CURES = {
    "cv2": "pip install --force-reinstall --no-deps opencv-python-headless",
    "torchvision": "reinstall both: pip install --force-reinstall -c constraints.txt torch torchvision",
}
_COMMON_CURE = "pip install -c constraints.txt -e ."


def main(argv: list[str] | None = None) -> int:
    """Print the report; the number returned is the exit status."""
    args = _parse(argv)
    troubles: list[str] = []
    if report_packages(troubles):
        report_device()
        report_ops()
        report_runs(troubles)
        if args.config:
            report_data(args.config, args.data_root, troubles)
    if troubles:
        print(f"\n{len(troubles)} trouble{'s' * (len(troubles) > 1)}:")
        for trouble in troubles:
            print(f"- {' '.join(trouble.split())}")
        return 1
    print("\nall is well")
    return 0


def report_packages(troubles: list[str]) -> bool:
    """Versions; those outside medkit's ranges, and packages that come twice. Returns whether all import."""
    import medkit

    print(f"python       {platform.python_version()} on {platform.platform()}")
    print(f"medkit       {medkit.__version__}")
    owners = metadata.packages_distributions()
    importable = [_report_package(name, sorted(set(owners.get(name, []))), troubles) for name in PACKAGES]
    troubles.extend(_outside_range())
    return all(importable)


def _report_package(name: str, owners: list[str], troubles: list[str]) -> bool:
    versions = {owner: metadata.version(owner) for owner in owners}
    shown = ", ".join(f"{owner} {version}" for owner, version in versions.items())
    print(f"{name:<12} {shown or 'not installed'}")
    if len(set(versions.values())) > 1:
        troubles.append(
            f"{name} comes from {len(owners)} packages whose files overwrite each other: {shown}; "
            f"pip uninstall -y {' '.join(owners)}, then {_COMMON_CURE}"
        )
    try:
        importlib.import_module(name)
    except Exception as error:  # a broken binary may raise anything at import
        cure = _CURES.get(name, _COMMON_CURE) if owners else _COMMON_CURE
        troubles.append(f"import {name} failed with {type(error).__name__}: {_first_line(error)}; {cure}")
        return False
    return True


def report_device() -> None:
    """The GPUs that torch sees."""
    import torch

    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        print(f"devices      {', '.join(names)} (CUDA {torch.version.cuda}), CPU")
        return
    hint = ""
    if shutil.which("nvidia-smi"):
        built = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "built without CUDA"
        hint = f" (nvidia-smi is here, but torch sees no GPU; it is {built}: does the driver fit?)"
    print(f"devices      CPU, {torch.get_num_threads()} threads{hint}")


def report_ops() -> None:
    """Which back-end serves mmcv.ops, and in the stand-in each operator."""
    importlib.import_module("mmcv._ext")
    from medkit.ops import backend

    chosen = backend()
    assert chosen is not None, "mmcv._ext was imported, so a back-end was chosen"
    print(f"\noperators of mmcv.ops: {chosen.kind}; {chosen.reason}")
    if chosen.kind == "compiled":
        return
    from medkit.ops.standin import UNSUPPORTED, op_sources

    sources = op_sources()
    for source in sources:
        if source.served_by != UNSUPPORTED:
            print(f"  {source.name:<33} {source.served_by}")
    missing = [source.name for source in sources if source.served_by == UNSUPPORTED]
    print(f"  {len(missing)} others raise OpsError when called (docs/install.md)")


def report_runs(troubles: list[str]) -> None:
    """Run nms and a deformable convolution, forward and backward, on every device and time them."""
    import torch

    print("\noperators run")
    for device in ["cpu"] + ["cuda"] * torch.cuda.is_available():
        for name, run in (("nms of 1000 boxes", _run_nms), ("DCNv2 forward and backward", _run_dcn)):
            try:
                wrong = run(device)
                start = time.perf_counter()
                run(device)
                taken = f"{1e3 * (time.perf_counter() - start):.1f} ms"
            except Exception as error:  # whatever a foreign binary raises is the finding
                wrong = f"{type(error).__name__}: {_first_line(error)}"
            print(f"  {name:<27} {device:<5} {'failed' if wrong else taken}")
            if wrong:
                troubles.append(f"{name} on {device} failed: {wrong}; {_ops_cure()}")


def report_data(config: str, data_root: str | None, troubles: list[str]) -> None:
    """Load a config and check the data sets that it names."""
    from medkit.apis.config import load_config
    from medkit.data.checks import check_dataset
    from medkit.errors import MedkitError

    print(f"\ndata of {config}")
    try:
        problems = check_dataset(load_config(config, data_root=data_root))
    except MedkitError as error:
        problems = [str(error)]
    print(f"  problems: {len(problems)}")
    troubles.extend(problems)


def _parse(argv: list[str] | None) -> argparse.Namespace:
    lines = (__doc__ or "").splitlines()
    parser = argparse.ArgumentParser("python -m medkit.doctor", description=lines[0])
    parser.add_argument("--config", help="also check the data sets of this config")
    parser.add_argument("--data-root", help="the prepared data set, in place of the config's data_root")
    args = parser.parse_args(argv)
    if args.data_root and not args.config:
        parser.error("--data-root needs --config")
    return args


def _outside_range() -> list[str]:
    """Installed versions that medkit's requirements exclude; none when medkit runs from a bare checkout."""
    try:
        from packaging.requirements import Requirement

        wanted = metadata.requires("medkit") or []
    except (ImportError, metadata.PackageNotFoundError):
        return []
    faults = []
    for requirement in map(Requirement, wanted):
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            version = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            faults.append(f"{requirement.name} is not installed; {_COMMON_CURE}")
            continue
        if not requirement.specifier.contains(version, prereleases=True):
            faults.append(f"{requirement.name} {version} is not {requirement.specifier}; {_COMMON_CURE}")
    return faults


def _run_nms(device: str) -> str | None:
    """What is wrong with nms of 500 boxes, each there twice; None when nothing is."""
    import torch
    from mmcv.ops import nms

    corner = 40.0 * torch.arange(500, device=device)[:, None] * torch.ones(2, device=device)
    boxes = torch.cat([corner, corner + 20], 1).repeat(2, 1)  # (1000, 4)
    scores = torch.linspace(1, 0.5, 1000, device=device)
    kept = nms(boxes, scores, 0.5)[1].tolist()
    return None if kept == list(range(500)) else f"{len(kept)} boxes kept, expected the first 500"


def _run_dcn(device: str) -> str | None:
    """How a deformable convolution without offsets differs from a plain one; None when it does not."""
    import torch
    from mmcv.ops import modulated_deform_conv2d

    generator = torch.Generator().manual_seed(0)
    image = torch.randn(2, 16, 32, 32, generator=generator).to(device).requires_grad_()
    weight = torch.randn(16, 16, 3, 3, generator=generator).to(device).requires_grad_()
    still, ones = (torch.full((2, n, 32, 32), float(n == 9), device=device) for n in (18, 9))
    ours = modulated_deform_conv2d(image, still, ones, weight, None, 1, 1)
    plain = torch.nn.functional.conv2d(image, weight, padding=1)
    gradients = [torch.autograd.grad(output.square().sum(), (image, weight)) for output in (ours, plain)]
    for got, wanted in zip((ours, *gradients[0]), (plain, *gradients[1]), strict=True):
        error = ((got - wanted).abs().max() / wanted.abs().max()).item()
        if not error < 1e-2:  # TF32 on a GPU is right to 1e-3
            return f"it differs by {error:.1e} from a plain convolution"
    return None


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [""])[0]


def _ops_cure() -> str:
    from medkit.ops import backend

    chosen = backend()
    if chosen is not None and chosen.kind == "compiled":
        return "set MEDKIT_OPS=standin, or compile mmcv anew for this torch (docs/install.md)"
    return _CURES["torchvision"]


if __name__ == "__main__":
    sys.exit(main())
