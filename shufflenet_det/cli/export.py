"""Write a detector as one file for a device: ONNX, OpenVINO, ncnn or torch.export."""

import argparse
from typing import Any

EXAMPLE = "shufflenet-det export configs/nanodet/nanodet_plus_m_416.py best.pth model.onnx"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("model", help="a config, or a checkpoint that carries its config")
    parser.add_argument("checkpoint", nargs="?", help="the weights, where MODEL is a config")
    parser.add_argument("out", help="NAME.onnx, .xml (OpenVINO), .ncnn.param or .pt2")
    parser.add_argument(
        "--nms",
        choices=("inside", "none"),
        default="inside",
        help="none: .onnx and .xml end with all boxes and scores (default: inside)",
    )
    parser.add_argument("--half", action="store_true", help="weights of float16")
    parser.add_argument(
        "--verify",
        metavar="DATASET",
        help="compare with PyTorch on a COCO annotation file or a folder laid out as COCO",
    )
    parser.add_argument("--trust", action="store_true", help="execute a carried config")


def run(args: argparse.Namespace) -> None:
    """Export, then compare with the detector in PyTorch."""
    from shufflenet_det.deploy import Detector, export, verify
    from shufflenet_det.deploy.verification import compare, find_dataset, photographs

    if args.verify:
        find_dataset(args.verify)
    torch_model = export(
        args.model,
        args.checkpoint,
        args.out,
        nms=args.nms == "inside",
        half=args.half,
        trust=args.trust,
    )
    print(f"written: {args.out}")
    if not args.out.endswith((".onnx", ".xml", ".param")):
        return
    try:
        exported = Detector(args.out)
    except ImportError as error:
        print(f"not compared with PyTorch: {error}")
        return

    def reference(image: Any) -> Any:
        from shufflenet_det.detector.sources import read_image

        return torch_model(read_image(image))

    if args.verify:
        print(verify(reference, exported, args.verify, torch_model.classes))
    else:
        print(f"against PyTorch: {compare(reference, exported, photographs())}")
