"""``--demo``: train any COCO config on the synthetic data set, in minutes."""

from mmengine.config import Config

from ..config_files import config_folder, dicts_in
from ..data import make_demo_dataset

DEMO_ROOT = "data/demo"
_SIZE = (256, 192)  # of the synthetic images


def use_demo_data(cfg: Config) -> None:
    """Merge ``configs/_demo.py`` over a COCO config, and reduce image sizes and repetitions.

    Args:
        cfg: A config for COCO's 80 categories; changed in place.

    Raises:
        ValueError: A data set of the config has its own classes or another layout.
    """
    datasets = [d for d in dicts_in(cfg._cfg_dict) if "ann_file" in d and "data_prefix" in d]
    if not datasets or any("metainfo" in d or d["type"] != "CocoDataset" for d in datasets):
        raise ValueError(
            f"--demo needs a config for COCO's 80 categories, but {cfg.filename} is for other "
            "data: run it without --demo"
        )
    replace_data_root(cfg, str(make_demo_dataset(DEMO_ROOT)))
    cfg.merge_from_dict(Config.fromfile(config_folder() / "_demo.py")._cfg_dict.to_dict())
    for owner in dicts_in(cfg._cfg_dict):
        if owner.get("type") == "Resize" and owner.get("keep_ratio"):
            owner["scale"] = _SIZE  # without keep_ratio, the model needs the size, as in SSD
        if owner.get("type") == "RepeatDataset":
            owner["times"] = 1
        # Proposals and RoIs take most of the CPU time, and small images need few.
        if "nms_pre" in owner and "max_per_img" in owner:
            owner.update(nms_pre=500, max_per_img=min(owner["max_per_img"], 300))
    if "rcnn" in (cfg.model.get("train_cfg") or {}):
        sampler = cfg.model.train_cfg.rcnn.sampler
        if sampler.pos_fraction < 1:  # otherwise it must pass all RoIs
            sampler.num = 64


def replace_data_root(cfg: Config, root: str) -> None:
    """Replace ``data_root`` at the start of every path of a config.

    Args:
        cfg: A config with ``data_root`` at its top level; changed in place.
        root: The new folder.

    Raises:
        ValueError: The config has no ``data_root``.
    """
    old = cfg.get("data_root")
    if not old:
        raise ValueError(
            f"{cfg.filename} has no data_root at its top level: set each path, "
            "for example train_dataloader.dataset.data_root"
        )
    old, new = old.rstrip("/") + "/", root.rstrip("/") + "/"
    for owner in dicts_in(cfg._cfg_dict):
        for key, value in owner.items():
            if isinstance(value, str) and (value + "/").startswith(old):
                owner[key] = new + value[len(old) :]
