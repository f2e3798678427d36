"""Other programs use an installed package, from a wheel and in editable mode."""

import os
import subprocess
import sys
import sysconfig
from importlib import util
from pathlib import Path

import pytest

# The program starts like mmdet's test.py. Its worker, like one of a data loader, only imports the
# modules of the objects that it receives.
PROGRAM = """
if __name__ == "__main__":
    import sys
    from multiprocessing import get_context
    from mmdet.evaluation import coco_classes
    from mmdet.registry import MODELS
    from mmengine.config import Config

    print(MODELS.build(dict(type="shufflenet_det.ShuffleNetV2")).out_channels)
    with get_context("spawn").Pool(1) as pool:
        print(pool.apply(coco_classes)[0])
    print(Config.fromfile(sys.argv[1]).model.type)
    import shufflenet_det
    print(shufflenet_det.__file__)
"""


@pytest.fixture(scope="module", params=["wheel", "editable"])
def environment(request, tmp_path_factory, root):
    """A virtual environment with this package; dependencies come from the current environment."""
    if util.find_spec("pip") is None or util.find_spec("setuptools") is None:
        pytest.skip("needs pip and setuptools in the environment of the tests")
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    packages = Path(sysconfig.get_path("purelib", vars={"base": str(folder)}))
    others = [p for p in sys.path if p.endswith(("site-packages", "dist-packages"))]
    # Plain paths, so that .pth files in them, such as ours, are not read.
    (packages / "others.pth").write_text("\n".join(others))
    python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    pip = [sys.executable, "-m", "pip", "--quiet", "--python", str(python), "install", "--no-deps"]
    what = [str(root)] if request.param == "wheel" else ["--editable", str(root)]
    subprocess.run([*pip, "--no-build-isolation", *what], check=True, capture_output=True)
    return request.param, python, packages


def test_other_programs_need_not_import_the_package(environment, tmp_path, root):
    kind, python, packages = environment
    program, config = tmp_path / "program.py", tmp_path / "config.py"
    program.write_text(PROGRAM)
    config.write_text("_base_ = 'mmdet::retinanet/retinanet_r50_fpn_1x_coco.py'")
    done = subprocess.run(
        [python, "-W", "error::UserWarning:shufflenet_det", program, config],
        **{"cwd": tmp_path, "capture_output": True, "text": True},
    )
    assert done.returncode == 0, done.stderr
    channels, name, model, file = done.stdout.split("\n")[:4]
    assert (channels, name, model) == ("(116, 232, 464)", "person", "RetinaNet")
    home = packages if kind == "wheel" else root
    assert Path(file).parent.parent.resolve() == home.resolve()


def test_python_starts_without_imports_and_without_the_package(environment, tmp_path):
    _, python, packages = environment
    code = "import sys; print({'shufflenet_det', 'importlib.util', 'torch'} & set(sys.modules))"
    run = {"cwd": tmp_path, "capture_output": True, "text": True}
    done = subprocess.run([python, "-c", code], **run)
    assert "shufflenet_det" not in done.stdout.replace("shufflenet_det_startup", "")
    (packages / "shufflenet_det.pth").rename(tmp_path / "kept.pth")
    leftover = tmp_path / "leftover.py"
    leftover.write_text((tmp_path / "kept.pth").read_text())
    done = subprocess.run([python, "-S", leftover], **run)
    assert (done.returncode, done.stderr) == (0, "")
