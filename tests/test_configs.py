"""Every shipped config loads, builds, trains a step, predicts, and states what was measured."""

import copy
import json
import re
from pathlib import Path
from types import SimpleNamespace

import mmdet
import pytest
import torch
from mmdet.registry import MODELS
from mmdet.testing import demo_mm_inputs
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope

import shufflenet_det  # registers the backbones
from shufflenet_det.config_files import config_names
from shufflenet_det.host.amp import enable as enable_amp
from shufflenet_det.training import configs
from shufflenet_det.training import demo as demo_module
from shufflenet_det.training.hooks import ChannelsLast

ROOT = Path(__file__).parent.parent
ALL = [f"configs/{name}.py" for name in config_names()]
# The papers' detectors have no neck, classifiers no boxes: they have tests of their own.
CONFIGS = [name for name in ALL if not name.startswith(("configs/paper_v", "configs/pretrain"))]
MAIN = "configs/faster_rcnn_shufflenet_coco.py"
OWN = "configs/own_dataset.py"
COCO = [name for name in CONFIGS if name.endswith("_coco.py")]
OTHER_DATA = [name for name in CONFIGS if name == OWN or name.startswith("configs/bccd")]
MMDETS = Path(mmdet.__file__).parent / ".mim/configs/faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py"


@pytest.fixture(autouse=True)
def mmdets_scope():
    """Set mmdet's default scope, as a Runner does."""
    init_default_scope("mmdet")


@pytest.fixture
def load(own_data, monkeypatch):
    """Read a config in a folder with ``data/mine``."""
    monkeypatch.chdir(own_data)
    return lambda name: Config.fromfile(ROOT / name)


def build(cfg):
    """The detector with random weights; few proposals, because these take most of the time."""
    torch.manual_seed(0)
    model = copy.deepcopy(cfg.model)
    model.backbone.init_cfg = model.init_cfg = None
    if "rpn" in model.test_cfg:
        model.train_cfg.rpn_proposal.max_per_img = model.test_cfg.rpn.max_per_img = 50
        model.train_cfg.rcnn.sampler.num = 64
    detector = MODELS.build(model)
    detector.init_weights()
    return detector


@pytest.fixture(scope="module", params=CONFIGS)
def built(request, own_data):
    """Each config, with a score threshold of 0, and its detector."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(own_data)
        cfg = Config.fromfile(ROOT / request.param)
    cfg.model.test_cfg.get("rcnn", cfg.model.test_cfg).score_thr = 0.0
    init_default_scope("mmdet")
    return cfg, build(cfg)


def size_of(cfg):
    """(height, width): SSD's own size, otherwise a small one that is not square."""
    side = cfg.get("input_size")
    return (side, side) if side else (128, 160)


def num_classes(model):
    head = model.bbox_head if "bbox_head" in model else model.roi_head.bbox_head
    return head.num_classes


def batch(cfg):
    shape = (3, *size_of(cfg))
    return demo_mm_inputs(2, [shape, shape], [3, 2], num_classes(cfg.model))


STEPPED = []


def parts_of(detector):
    return [type(module) for name, module in detector.named_modules() if name.count(".") < 1]


def test_the_promised_configs_are_there():
    wanted = "faster_rcnn_shufflenet faster_rcnn_shufflenetv1 ssd300_shufflenet"
    wanted += " ssdlite320_shufflenet retinanet_shufflenet"
    assert {Path(name).stem for name in COCO} >= {f"{name}_coco" for name in wanted.split()}


def test_a_step_gives_every_parameter_a_finite_gradient(built):
    cfg, detector = built
    detector.train().zero_grad()
    data = detector.data_preprocessor(batch(cfg), training=True)
    loss, _ = detector.parse_losses(detector(**data, mode="loss"))
    loss.backward()
    assert torch.isfinite(loss)
    for parameter_name, parameter in detector.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.isfinite().all(), parameter_name


def test_a_step_in_bfloat16_and_channels_last_gives_finite_gradients(built):
    cfg, detector = built
    if parts_of(detector) in STEPPED:
        pytest.skip("an earlier config has the same parts")
    STEPPED.append(parts_of(detector))
    detector, optim_wrapper = copy.deepcopy(detector).train(), copy.deepcopy(cfg.optim_wrapper)
    detector.zero_grad()
    enable_amp(optim_wrapper)
    ChannelsLast().before_train(SimpleNamespace(model=detector))
    wrapper = build_optim_wrapper(detector, optim_wrapper)
    maps = []
    detector.backbone.register_forward_hook(lambda *args: maps.extend(args[2]))
    logs = detector.train_step(batch(cfg), wrapper)
    assert torch.isfinite(logs["loss"])
    assert all(p.isfinite().all() for p in detector.parameters())
    assert {m.dtype for m in maps} == {torch.bfloat16}
    assert all(m.is_contiguous(memory_format=torch.channels_last) for m in maps)


def test_predictions_are_boxes_in_the_image(built):
    cfg, detector = built
    height, width = size_of(cfg)
    with torch.no_grad():
        results = detector.eval().test_step(batch(cfg))
    assert len(results) == 2
    for result in results:
        found = result.pred_instances
        assert len(found) > 0
        assert found.labels.max() < num_classes(cfg.model)
        assert ((found.scores >= 0) & (found.scores <= 1)).all()
        x_scale, y_scale = result.scale_factor
        corner = torch.tensor([width / x_scale, height / y_scale] * 2)
        assert (found.bboxes >= 0).all()
        assert (found.bboxes <= corner + 1e-3).all()


def test_channels_and_strides_agree_from_backbone_to_anchors(built):
    cfg, detector = built
    size = size_of(cfg)
    with torch.no_grad():
        maps = detector.eval().backbone(torch.zeros(1, 3, *size))
    channels = tuple(m.shape[1] for m in maps)
    assert getattr(detector.backbone, "out_channels", channels) == channels
    head = detector.rpn_head if hasattr(detector, "rpn_head") else detector.bbox_head
    anchors = head.prior_generator
    if detector.with_neck:
        neck = cfg.model.neck
        first = neck[0] if isinstance(neck, list) else neck
        assert tuple(first.in_channels) == channels
        levels = detector.neck(maps)
    else:  # C4 and Light-Head: RPN on the first map, RoIs on the last
        levels = maps[:1]
        assert head.in_channels == channels[0]
    for level, stride in zip(levels, anchors.strides, strict=True):
        assert level.shape[2:] == tuple(-(-side // s) for side, s in zip(size, stride, strict=True))
    if "roi_head" in cfg.model:
        strides = cfg.model.roi_head.bbox_roi_extractor.featmap_strides
        if detector.with_neck:
            assert list(strides) == [stride[0] for stride in anchors.strides[: len(strides)]]
        else:
            assert list(strides) == [detector.backbone.out_strides[-1]]


@pytest.mark.parametrize("name", CONFIGS)
def test_the_plugin_is_imported_in_both_ways(load, name):
    cfg = load(name)
    assert "shufflenet_det" in cfg.custom_imports.imports
    kind = cfg.model.backbone.type
    assert kind.startswith("shufflenet_det.ShuffleNetV") or "shufflenet" not in Path(name).stem


def bases(path):
    """The length of a config's longest chain of bases."""
    found = re.search(r"^_base_ = (.+)$", path.read_text(), re.MULTILINE)
    names = re.findall(r"'([^']+)'", found[1]) if found else []
    return max((1 + bases(path.parent / name) for name in names), default=0)


@pytest.mark.parametrize("name", ALL)
def test_bases_are_at_most_two_deep(name):
    assert bases(ROOT / name) <= 2


def test_the_main_config_is_flat():
    assert bases(ROOT / MAIN) == 0


def header(name):
    lines = (ROOT / name).read_text().splitlines()
    end = next(i for i, line in enumerate(lines) if not line.startswith("#"))
    return " ".join(line.lstrip("# ") for line in lines[:end])


@pytest.mark.parametrize("name", ALL)
def test_the_header_says_what_was_measured(name):
    assert re.search(r"[Mm]easured|[Nn]ot trained", header(name))


@pytest.mark.parametrize("name", ALL)
def test_the_best_checkpoint_is_kept(load, name):
    best = "accuracy/top1" if name.startswith("configs/pretrain") else "coco/bbox_mAP"
    assert load(name).default_hooks.checkpoint.save_best == best


@pytest.mark.parametrize("name", ALL)
def test_the_learning_rate_can_be_scaled(load, name):
    assert load(name).auto_scale_lr.base_batch_size > 0


def flat(node, key=""):
    """{dotted key: value}; tuples are lists."""
    if isinstance(node, dict) and node:
        children = node.items()
    elif isinstance(node, list | tuple) and any(isinstance(n, dict) for n in node):
        children = enumerate(node)
    else:
        return {key: list(node) if isinstance(node, tuple) else node}
    return {k: v for name, n in children for k, v in flat(n, f"{key}.{name}".lstrip(".")).items()}


# Keys where the main config differs from mmdet's Faster R-CNN, with the reason.
DIFFERENCES = {
    # values that users often change, defined at the top
    r"num_classes|pretrained|batch_size|num_workers|lr|max_epochs|scale",
    # mmdet's names for values that are literal here
    r"dataset_type|backend_args",
    r"custom_imports\..+",
    # another backbone, and heads that start at stride 8
    r"model\.backbone\..+",
    r"model\.neck\.in_channels",
    r"model\.rpn_head\.anchor_generator\.(scales|strides)",
    r"model\.roi_head\.bbox_roi_extractor\.(featmap_strides|finest_scale)",
    # the best checkpoint is kept, but not all others
    r"default_hooks\.checkpoint\.(max_keep_ckpts|save_best)",
}


def test_the_main_config_is_mmdets_but_for_named_keys(load):
    ours, theirs = (
        flat(Config.fromfile(path)._cfg_dict.to_dict()) for path in (ROOT / MAIN, MMDETS)
    )
    absent = object()
    different = {
        key
        for key in ours.keys() | theirs.keys()
        if ours.get(key, absent) != theirs.get(key, absent)
    }
    unnamed = {key for key in different if not any(re.fullmatch(d, key) for d in DIFFERENCES)}
    assert unnamed == set()
    for pattern in DIFFERENCES:
        assert any(re.fullmatch(pattern, key) for key in different), f"{pattern} differs no more"


def test_anchor_and_object_sizes_by_stride_are_mmdets(load):
    """What is compared is pixels: scale times stride, and the finest RoI size of a stride."""
    ours, theirs = (Config.fromfile(path).model for path in (ROOT / MAIN, MMDETS))

    def anchors(model):
        generator = model.rpn_head.anchor_generator
        return {s * generator.scales[0] for s in generator.strides}

    def finest(model):
        extractor = model.roi_head.bbox_roi_extractor
        return extractor.get("finest_scale", 56) / extractor.featmap_strides[0]

    assert anchors(ours) == {32, 64, 128, 256, 512} == anchors(theirs)
    assert finest(ours) == 14 == finest(theirs)


@pytest.fixture
def user_config(tmp_path):
    """A user's config that inherits from mmdet's Faster R-CNN."""

    def write(text):
        path = tmp_path / "mine.py"
        path.write_text(f"_base_ = {str(MMDETS)!r}\n{text}")
        return Config.fromfile(path)

    return write


def step(cfg):
    detector = build(cfg).train()
    data = detector.data_preprocessor(batch(cfg), training=True)
    loss, _ = detector.parse_losses(detector(**data, mode="loss"))
    loss.backward()
    assert all(p.grad is not None for p in detector.parameters())
    return detector


def readmes_snippets():
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    return [block for block in blocks if "model = dict(" in block]


def test_the_readme_has_a_snippet_for_a_users_config():
    assert readmes_snippets()


@pytest.mark.parametrize("snippet", readmes_snippets())
def test_the_readmes_snippet_makes_mmdets_config_ours(user_config, snippet):
    detector = step(user_config(snippet))
    assert type(detector.backbone) is shufflenet_det.ShuffleNetV2
    assert type(detector).__name__ == "FasterRCNN"


FOUR_LEVELS = """
model = dict(
    backbone=dict(_delete_=True, type='shufflenet_det.ShuffleNetV2', out_indices=(0, 1, 2, 3)),
    neck=dict(in_channels=[24, 116, 232, 464]))
"""
THREE_LEVELS = """
model = dict(
    backbone=dict(_delete_=True, type='shufflenet_det.ShuffleNetV2'),
    neck=dict(in_channels=[116, 232, 464]),
    rpn_head=dict(anchor_generator=dict(strides=[8, 16, 32, 64, 128])),
    roi_head=dict(bbox_roi_extractor=dict(featmap_strides=[8, 16, 32])))
"""


@pytest.mark.parametrize("text", [FOUR_LEVELS, THREE_LEVELS], ids=["four", "three"])
def test_strides_agree_in_a_users_config_of_so_many_levels(user_config, text):
    detector = step(user_config(text))
    strides = detector.backbone.out_strides
    anchors = [stride[0] for stride in detector.rpn_head.prior_generator.strides]
    assert tuple(anchors[: len(strides)]) == strides
    assert tuple(detector.roi_head.bbox_roi_extractor.featmap_strides) == strides


def test_a_users_own_custom_imports_do_not_matter(user_config):
    own = "custom_imports = dict(imports=['colorsys'], allow_failed_imports=False)\n"
    cfg = user_config(own + FOUR_LEVELS)
    assert cfg.custom_imports.imports == ["colorsys"]
    assert type(build(cfg).backbone) is shufflenet_det.ShuffleNetV2


def test_the_own_dataset_example_is_short():
    assert len((ROOT / OWN).read_text().splitlines()) <= 60


@pytest.mark.parametrize("elsewhere", [False, True])
def test_the_own_dataset_example_reads_its_classes_from_the_json(
    own_data, monkeypatch, tmp_path, elsewhere
):
    monkeypatch.chdir(tmp_path if elsewhere else own_data)
    options = {"data_root": str(own_data / "data/mine")} if elsewhere else {}
    cfg = configs.load_run_config(str(ROOT / OWN), cfg_options=options)
    content = json.loads((own_data / "data/mine/train.json").read_text())
    classes = tuple(category["name"] for category in content["categories"])
    assert num_classes(cfg.model) == len(classes)
    for dataset in (cfg.train_dataloader.dataset, cfg.val_dataloader.dataset):
        assert tuple(dataset.metainfo.classes) == classes


def strings(node):
    """All strings in nested dicts and lists."""
    if isinstance(node, str):
        yield node
    elif isinstance(node, dict | list | tuple):
        for child in node.values() if isinstance(node, dict) else node:
            yield from strings(child)


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("new", ["/elsewhere/coco", "elsewhere/coco/"])
def test_another_data_root_moves_every_path(load, name, new):
    old = load(name).data_root
    cfg = configs.load_run_config(str(ROOT / name), cfg_options={"data_root": new}, splits=())
    found = list(strings(cfg._cfg_dict))
    assert not [s for s in found if s.startswith(old)]
    moved = [s for s in found if s.startswith(new.rstrip("/") + "/")]
    # An evaluator without a file uses the images of its data set.
    of_evaluators = [cfg[f"{split}_evaluator"].ann_file for split in ("val", "test")]
    files = [file for file in of_evaluators if file is not None]
    assert len(files) == (0 if name.startswith("configs/overfit") else 2)
    # the root, three data sets and the evaluators
    assert len(moved) >= 4 + len(files)
    for file in files:
        assert file.startswith(new.rstrip("/") + "/")
        assert "//" not in file


@pytest.mark.parametrize("name", COCO)
@pytest.mark.parametrize("variable", ["lr", "max_epochs", "num_classes", "batch_size"])
def test_an_override_that_would_change_nothing_is_refused(name, variable):
    if variable not in Config.fromfile(ROOT / name):
        pytest.skip(f"the config has no {variable}")
    with pytest.raises(ValueError, match=rf"{variable}=.*change nothing"):
        configs.load_run_config(str(ROOT / name), cfg_options={variable: 7}, splits=())


@pytest.mark.parametrize(
    "option", ["train_dataloader.dataset.pipeline.99.scale", "model.backbone.widen_factor.x"]
)
def test_an_override_of_what_is_not_there_is_one_sentence(option):
    with pytest.raises(ValueError, match=rf"--cfg-options do not fit .*{Path(MAIN).name}: \w"):
        configs.load_run_config(str(ROOT / MAIN), cfg_options={option: 7}, splits=())


@pytest.mark.parametrize("option", ["randomness.seed", "find_unused_parameters", "load_from"])
def test_an_override_that_the_runner_reads_is_taken(option):
    cfg = configs.load_run_config(str(ROOT / MAIN), cfg_options={option: 7}, splits=())
    assert flat(cfg._cfg_dict.to_dict())[option] == 7


@pytest.fixture
def demo(monkeypatch, demo_data):
    """``--demo`` with an existing data set."""
    monkeypatch.setattr(demo_module, "make_demo_dataset", lambda root: demo_data)
    return lambda name, **kwargs: configs.load_run_config(str(ROOT / name), demo=True, **kwargs)


def shapes(model):
    model = model.copy()
    model.backbone.init_cfg = None
    with torch.device("meta"):
        return {k: tuple(v.shape) for k, v in MODELS.build(model).state_dict().items()}


@pytest.mark.parametrize("name", COCO)
def test_the_demo_leaves_the_architecture(load, demo, name):
    assert shapes(demo(name).model) == shapes(load(name).model)


@pytest.mark.parametrize("name", COCO)
def test_the_demo_reads_the_made_data_from_random_weights(demo, demo_data, name):
    cfg = demo(name)
    assert not [s for s in strings(cfg._cfg_dict) if s.startswith("data/coco")]
    assert cfg.val_evaluator.ann_file.startswith(str(demo_data))
    assert (cfg.model.backbone.init_cfg or {}).get("type") != "Pretrained"
    assert not cfg.model.backbone.get("norm_eval")


def test_the_demo_is_shorter_and_can_be_overridden(demo):
    epochs = Config.fromfile(ROOT / MAIN).train_cfg.max_epochs
    assert demo(MAIN).train_cfg.max_epochs < epochs
    options = {"train_cfg.max_epochs": 1, "train_dataloader.batch_size": 3}
    cfg = demo(MAIN, cfg_options=options)
    assert cfg.train_cfg.max_epochs == 1
    assert cfg.train_dataloader.batch_size == 3


@pytest.mark.parametrize("name", OTHER_DATA)
def test_the_demo_refuses_configs_for_other_data(load, demo, name):
    with pytest.raises(ValueError, match=r"--demo .* COCO"):
        demo(name)
