"""NanoDet-Plus trains through the tools: on two processes, from a folded file, and resumed."""

import os
import re
import socket

import torch
from safetensors.torch import save_file
from test_nanodet import PLUS, build, config, folded, randomised

CONFIG = f"configs/nanodet/{PLUS}.py"
SMALL = [
    *(f"{split}_dataloader.num_workers=0" for split in ("train", "val")),
    *(f"{split}_dataloader.persistent_workers=False" for split in ("train", "val")),
    "model.backbone.init_cfg=None",
    "model.train_cfg.aux_head.stacked_convs=1",
    "model.train_cfg.detach_epoch=1",
    "train_dataloader.batch_size=2",
    "train_dataloader.dataset.indices=4",
    "train_dataloader.dataset.pipeline.2.scale=(64,64)",
    "val_dataloader.dataset.pipeline.1.scale=(64,64)",
    "train_cfg.val_interval=2",
]


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def averaged(checkpoint):
    return {k: v for k, v in checkpoint["ema_state_dict"].items() if k.startswith("module.")}


def test_two_processes_train_from_a_folded_file_and_one_resumes(python, tool, demo_data, tmp_path):
    source = randomised(build(config(PLUS)))
    save_file({k: v.contiguous() for k, v in folded(source).items()}, tmp_path / "coco.safetensors")
    work_dir = ["--work-dir", tmp_path]
    options = ["--cfg-options", f"data_root={demo_data}/", *SMALL]
    loaded = f"load_from={tmp_path / 'coco.safetensors'}"
    python(
        *("-m", "torch.distributed.run", "--nproc_per_node=2", f"--master_port={free_port()}"),
        *("tools/train.py", CONFIG, "--launcher", "pytorch", *work_dir, *options),
        *(loaded, "train_cfg.max_epochs=2"),
        env=os.environ | {"CUDA_VISIBLE_DEVICES": ""},
    )
    log = next(tmp_path.glob("*/*.log")).read_text()
    assert "BatchNorm layers had no statistics: estimated" in log
    assert re.search(r"\d+ of \d+ tensors from .*coco.safetensors", log)
    assert "aux_loss_cls" in log
    first = torch.load(tmp_path / "epoch_2.pth", weights_only=True)
    # ``state_dict`` is the average, and ``ema_state_dict`` has the weights of the training.
    own = averaged(first)
    assert any(not torch.equal(first["state_dict"][k[7:]], v) for k, v in own.items())
    tool("train.py", CONFIG, *work_dir, "--resume", *options, "train_cfg.max_epochs=3")
    third = torch.load(tmp_path / "epoch_3.pth", weights_only=True)
    assert third["meta"]["epoch"] == 3
    assert third["ema_state_dict"]["steps"] > first["ema_state_dict"]["steps"]

    detector = build(config(PLUS))
    detector.load_state_dict(third["state_dict"])
    assert not any("aux" in key for key in detector.state_dict())
