"""mmdet's registry finds the classes of this package, which are imported only then."""

import json

import pytest

NAMES = {
    "FasterRCNNC4": "stage4_head",
    "LargeSeparableConv": "large_separable_conv",
    "LightHeadBBoxHead": "light_head",
    "LightHeadRCNN": "light_head",
    "LightHeadRPNHead": "light_head",
    "LightHeadRoIHead": "light_head",
    "PSRoIExtractor": "ps_roi",
    "Stage4Head": "stage4_head",
}


@pytest.mark.parametrize("read", [False, True], ids=["registry not read yet", "registry read"])
def test_mmdets_registry_finds_every_name(python, read):
    code = f"""if True:
        import json, sys
        from mmdet.registry import MODELS
        {'MODELS.get("ResNet")' if read else ""}
        import shufflenet_det.detectors
        heavy = "mmdet.models" in sys.modules
        found = {{name: MODELS.get(name).__module__ for name in {list(NAMES)}}}
        print(json.dumps([heavy, found]))"""
    heavy, found = json.loads(python("-c", code).stdout)
    assert heavy is read
    assert found == {name: f"shufflenet_det.detectors.{module}" for name, module in NAMES.items()}
