"""Write a detector as one file for a device: ONNX, OpenVINO, ncnn, TFLite or torch.export."""

import argparse
from typing import Any

EXAMPLE = "shufflenet-det export configs/nanodet/nanodet_plus_m_416.py best.pth model.onnx"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("model", help="a config, or a checkpoint that contains its config")
    parser.add_argument("checkpoint", nargs="?", help="the weights, if MODEL is a config")
    parser.add_argument("out", help="NAME.onnx, .xml (OpenVINO), .ncnn.param, .tflite or .pt2")
    parser.add_argument(
        "--nms",
        choices=("inside", "none"),
        default="inside",
        help="none: .onnx and .xml end with all boxes and scores (default: inside)",
    )
    parser.add_argument("--half", action="store_true", help="store float16 weights")
    parser.add_argument(
        "--int8",
        metavar="IMAGES",
        help="quantize the network of .onnx or .xml to 8 bits, calibrated on the images of this "
        "folder, 100 or more",
    )
    parser.add_argument(
        "--verify",
        metavar="DATASET",
        help="compare with PyTorch on a COCO annotation file or a folder laid out as COCO",
    )
    parser.add_argument(
        "--trust", action="store_true", help="execute the config that a checkpoint contains"
    )


def run(args: argparse.Namespace) -> None:
    """Export, then compare with the detector in PyTorch."""
    from pathlib import Path

    from shufflenet_det.deploy import Detector, export, verify
    from shufflenet_det.deploy.runtime.engines import RUNTIMES
    from shufflenet_det.deploy.verification import compare, find_dataset, photographs
    from shufflenet_det.detector.results import Detections
    from shufflenet_det.detector.sources import read_image

    if args.verify:
        find_dataset(args.verify)  # report its errors before the export
    torch_model = export(
        args.model,
        args.checkpoint,
        args.out,
        nms=args.nms == "inside",
        half=args.half,
        int8=args.int8,
        trust=args.trust,
    )
    print(f"written: {args.out}")

    def reference(image: Any) -> Detections:
        return Detections.of(torch_model(read_image(image)), torch_model.classes, image)

    exported = {}
    for name, (_, _, suffixes) in RUNTIMES.items():
        if Path(args.out).suffix in suffixes:
            try:
                exported[name] = Detector(args.out, runtime=name)
            except ImportError as error:
                print(f"not compared with PyTorch: {error}")
    if not exported:
        return
    if args.verify:
        results = verify(reference, exported, args.verify, torch_model.classes)
    else:
        results = {name: compare(reference, run, photographs()) for name, run in exported.items()}
    for name, differences in results.items():
        print(f"{name} against PyTorch, {differences}")
        if differences.cost is not None:
            print(f"{name}: {differences.cost:.2f} points of mAP less than PyTorch")
    if (args.half or args.int8) and not args.verify:
        print("to measure the loss of mAP, export with --verify DATASET")
