"""The config of a detector that trains in seconds: two epochs of three steps."""

SSDLITE = "ssdlite320_shufflenet_coco"
TINY = {
    "model.backbone.init_cfg": None,
    "model.backbone.widen_factor": 0.5,
    "model.neck.in_channels": (96, 1024),
    "model.neck.out_channels": (96, 1024, 32, 32, 32, 32),
    "model.bbox_head.in_channels": (96, 1024, 32, 32, 32, 32),
    "train_dataloader.batch_size": 4,
    "train_dataloader.num_workers": 0,
    "val_dataloader.num_workers": 0,
    "test_dataloader.num_workers": 0,
    "train_dataloader.dataset.times": 1,
    "train_dataloader.dataset.dataset.pipeline.4.scale": (64, 64),
    "val_dataloader.dataset.pipeline.1.scale": (64, 64),
    "test_dataloader.dataset.pipeline.1.scale": (64, 64),
    "model.test_cfg.score_thr": 0.0,
    "train_cfg.max_epochs": 2,
    "train_cfg.val_interval": 1,
    "default_hooks.logger.interval": 1,
    "randomness.seed": 7,
}
