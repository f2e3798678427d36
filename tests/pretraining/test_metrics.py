"""Top-1 and top-5, against torch's own ranking."""

import pytest
import torch

from shufflenet_det.pretraining import TopKAccuracy


def accuracy(batches, **kwargs):
    """Accuracy of ``[(logits, labels), …]`` in %."""
    metric = TopKAccuracy(**kwargs)
    for logits, labels in batches:
        metric.process({"data_samples": labels}, list(logits))
    return metric.evaluate(sum(len(labels) for _, labels in batches))


@pytest.mark.parametrize("classes", [6, 1000])
def test_accuracy_is_that_of_torchs_topk(classes):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(50, classes, generator=generator)
    labels = torch.randint(0, classes, (50,), generator=generator)
    logits[torch.arange(30), labels[:30]] += 3
    found = accuracy([(logits[:32], labels[:32]), (logits[32:], labels[32:])], topk=(1, 3, 5))
    expected = {
        f"accuracy/top{k}": 2 * (logits.topk(k).indices == labels[:, None]).any(1).sum().item()
        for k in (1, 3, 5)
    }
    assert found == expected
    assert 0 < found["accuracy/top1"] < found["accuracy/top5"] < 100


@pytest.mark.parametrize("value", [0.0, float("nan"), float("inf")])
def test_ties_and_nan_are_wrong(value):
    found = accuracy([(torch.full((4, 10), value), torch.arange(4))])
    assert found == {"accuracy/top1": 0, "accuracy/top5": 0}


def test_top5_of_three_classes_is_always_right():
    found = accuracy([(torch.eye(3), torch.tensor([0, 1, 1]))])
    assert found == {"accuracy/top1": pytest.approx(200 / 3), "accuracy/top5": 100}
