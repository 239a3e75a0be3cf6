"""Does a loaded ``mmcv._ext`` work? Runs its nms on three boxes, on the CPU and on the GPU at hand."""

import os
from types import ModuleType

import torch


def find_fault(ext: ModuleType) -> str | None:
    """None when nms of ``ext`` answers rightly on every device at hand, else one line on what it did."""
    for device in _devices():
        fault = _nms_fault(ext, device)
        if fault is not None:
            return fault
    return None


def _devices() -> list[torch.device]:
    devices = [torch.device("cpu")]
    # A forked worker must not touch CUDA; its parent has looked already.
    if torch.cuda.is_available() and not torch.cuda._is_in_bad_fork():
        # One process per GPU: stay on the own one, or every rank would open a context on the first.
        rank = int(os.environ.get("LOCAL_RANK", torch.cuda.current_device()))
        devices.append(torch.device("cuda", rank % torch.cuda.device_count()))
    return devices


def _nms_fault(ext: ModuleType, device: torch.device) -> str | None:
    # The second box overlaps the first (IoU .68), the third stands apart.
    boxes = torch.tensor(
        [[0, 0, 10, 10], [1, 1, 11, 11], [50, 50, 60, 60]], dtype=torch.float32, device=device
    )
    scores = torch.tensor([0.8, 0.9, 0.7], device=device)
    try:
        kept = ext.nms(boxes, scores, iou_threshold=0.5, offset=0)
        answer = [int(index) for index in kept]
    except Exception as error:  # a foreign binary may raise anything; whatever it is, it is reported
        first_line = (str(error).strip().splitlines() or [""])[0]
        return f"its nms on {device.type} raised {type(error).__name__}: {first_line}"
    if answer != [1, 2]:
        return f"its nms on {device.type} kept boxes {answer} of three, expected [1, 2]"
    return None
