# NanoDet-m, the first version, at 320x320 pixels.
# Not trained with this file. The authors' weights: 20.6 mAP on val2017 as published.
_base_ = './nanodet_m_416.py'
scale = (320, 320)
for _loader in (_base_.train_dataloader, _base_.val_dataloader, _base_.test_dataloader):
    for _step in _loader.dataset.pipeline:
        if 'scale' in _step:
            _step.scale = scale
del _loader, _step
