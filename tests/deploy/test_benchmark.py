"""The benchmark takes turns, names missing peers, and writes results. Times are not tested."""

import pytest
import torch
from torch import nn

from shufflenet_det.cli import main
from shufflenet_det.deploy import benchmark
from shufflenet_det.deploy.benchmark import Candidate
from shufflenet_det.papers import results


def test_candidates_take_turns_in_blocks_of_one_runtime():
    order = []

    def candidate(name, runtime):
        return Candidate(name, lambda: order.append(name), runtime)

    candidates = [candidate("a", "x"), candidate("c", "y"), candidate("b", "x")]
    benchmark.measure(candidates, blocks=2, rounds=2, threads=1)
    assert "".join(order) == 2 * ("aabb" * 2 + "cc" * 2)
    assert [len(c.seconds) for c in candidates] == [4, 4, 4]  # without the warm-up calls


def test_the_ratio_is_of_medians():
    one, other = Candidate("one", int, seconds=[1, 2, 9]), Candidate("o", int, seconds=[3, 4, 90])
    assert other.metrics(one) == {"ratio": 2, "ms": 4000, "low": 3500, "high": 47000}


@pytest.mark.filterwarnings("ignore")
def test_backbones_are_timed_and_missing_peers_are_named(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(benchmark, "TIMM", ("no_such_network",))
    chart = tmp_path / "chart.png"
    words = "benchmark backbone --size 32 64 --threads 1 --blocks 1 --rounds 1 --profile"
    assert not main([*words.split(), "--json", str(tmp_path), "--chart", str(chart)])
    printed = capsys.readouterr().out
    assert "missing: timm's no_such_network: " in printed
    assert "aten::" in printed and "threads; python" in printed
    found = results.read("performance_backbone_32x64", tmp_path)
    ratios = {row["name"]: row["metrics"]["ratio"] for row in found.rows}
    assert ratios["ours V2 1.0x, optimize()"] == ratios["ours V1 g3 1.0x, optimize()"] == 1
    assert {"torchvision V2 1.0x, channels-last", "torchvision V2 1.0x, onnxruntime"} <= set(ratios)
    assert chart.stat().st_size > 1000


def test_both_evaluations_give_the_same_numbers(capsys):
    words = "benchmark eval --images 12 --threads 1 --blocks 1 --rounds 1"
    assert not main(words.split())
    printed = capsys.readouterr().out
    assert "pycocotools" in printed and "missing" not in printed


def test_annotations_are_read(tmp_path):
    words = "benchmark data --images 20 --threads 1 --blocks 1 --rounds 1 --json"
    assert not main([*words.split(), str(tmp_path)])
    assert len(results.read("performance_data", tmp_path).rows) == 3


def test_steps_of_ours_and_of_the_peers():
    candidates = benchmark.steps((64, 64), 2, benchmark.Missing())
    names = [candidate.name for candidate in candidates]
    assert "mmdet SSDLite-MobileNetV2" in names and "torchvision V2 1.0x" in names
    candidates[0].run()  # in bfloat16


def test_a_step_changes_the_weights():
    layer = nn.Linear(1, 1)
    before = layer.weight.item()
    benchmark.step(layer, lambda network: 1e4 * network(torch.ones(1, 1)).sum())()
    assert layer.weight.item() == pytest.approx(before - 0.01)


@pytest.mark.parametrize("word", ["0", "-1", "x"])
def test_a_wrong_size_is_one_sentence(word, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["benchmark", "eval", "--images", word])
    assert "must be an integer of at least 1" in capsys.readouterr().err
