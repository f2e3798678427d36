"""Two processes on the CPU give the results of one."""

import os
import socket

import pytest
import torch
from mmdet.registry import MODELS
from mmdet.testing import demo_mm_inputs
from mmengine.dist import is_main_process
from tiny_ssdlite import SSDLITE, TINY
from torch import multiprocessing
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from shufflenet_det import training


def load(data_root, work_dir, launcher="none"):
    options = {**TINY, "data_root": str(data_root)}
    return training.load_run_config(
        SSDLITE, cfg_options=options, work_dir=str(work_dir), launcher=launcher, splits=("test",)
    )


def gradients(cfg, images):
    """With frozen statistics, for copies of one image."""
    torch.manual_seed(0)
    detector = MODELS.build(cfg.model)
    detector.init_weights()
    detector.train()
    for module in detector.modules():
        if isinstance(module, _BatchNorm):
            module.eval()
    model = detector
    if torch.distributed.is_initialized():
        model = DistributedDataParallel(detector)
    shape = [(3, 64, 64)] * images
    data = demo_mm_inputs(images, shape, [3] * images, 80, use_box_type=False)
    data["inputs"] = data["inputs"][:1] * images
    data["data_samples"] = data["data_samples"][:1] * images
    data = detector.data_preprocessor(data, training=True)
    loss, _ = detector.parse_losses(model(**data, mode="loss"))
    loss.backward()
    return {name: parameter.grad for name, parameter in detector.named_parameters()}


def process(rank, port, data_root, work_dir, checkpoint):
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "CUDA_VISIBLE_DEVICES": ""}
    torch.set_num_threads(1)
    cfg = load(data_root, work_dir, launcher="pytorch")
    found = gradients(cfg, images=1)
    metrics = training.test(cfg, checkpoint)
    if is_main_process():
        torch.save({"gradients": found, "metrics": metrics}, f"{work_dir}/found.pth")


@pytest.fixture(scope="module")
def of_two(trained, demo_data, tmp_path_factory):
    """Gradients and metrics of two processes."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    work_dir = tmp_path_factory.mktemp("two")
    arguments = (port, demo_data, work_dir, str(trained / "epoch_2.pth"))
    multiprocessing.spawn(process, arguments, nprocs=2)
    return torch.load(work_dir / "found.pth")


def test_the_same_images_give_the_same_gradients(of_two, demo_data, tmp_path):
    one = gradients(load(demo_data, tmp_path), images=2)
    assert one.keys() == of_two["gradients"].keys()
    for name, gradient in one.items():
        other = of_two["gradients"][name]
        assert (gradient - other).norm() <= 1e-5 * gradient.norm() + 1e-12, name


def test_the_same_checkpoint_gives_the_same_metrics(of_two, trained, demo_data, tmp_path):
    metrics = training.test(load(demo_data, tmp_path), str(trained / "epoch_2.pth"))
    assert of_two["metrics"] == metrics and "coco/bbox_mAP" in metrics
