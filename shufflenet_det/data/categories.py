"""COCO's 80 object categories: names, ids (1 to 90, with gaps) and supercategories.

Source: the ``categories`` list of ``instances_val2017.json``, https://cocodataset.org.
"""

_UNUSED_IDS = {12, 26, 29, 30, 45, 66, 68, 69, 71, 83}
_NAMES = {
    "person": "person",
    "vehicle": "bicycle, car, motorcycle, airplane, bus, train, truck, boat",
    "outdoor": "traffic light, fire hydrant, stop sign, parking meter, bench",
    "animal": "bird, cat, dog, horse, sheep, cow, elephant, bear, zebra, giraffe",
    "accessory": "backpack, umbrella, handbag, tie, suitcase",
    "sports": "frisbee, skis, snowboard, sports ball, kite, baseball bat, baseball glove, "
    "skateboard, surfboard, tennis racket",
    "kitchen": "bottle, wine glass, cup, fork, knife, spoon, bowl",
    "food": "banana, apple, sandwich, orange, broccoli, carrot, hot dog, pizza, donut, cake",
    "furniture": "chair, couch, potted plant, bed, dining table, toilet",
    "electronic": "tv, laptop, mouse, remote, keyboard, cell phone",
    "appliance": "microwave, oven, toaster, sink, refrigerator",
    "indoor": "book, clock, vase, scissors, teddy bear, hair drier, toothbrush",
}


def coco_categories() -> list[dict[str, int | str]]:
    """A new list of the 80 ``{"supercategory", "id", "name"}`` records, in the order of ids."""
    pairs = [(group, name) for group, names in _NAMES.items() for name in names.split(", ")]
    ids = (number for number in range(1, 91) if number not in _UNUSED_IDS)
    return [
        {"supercategory": group, "id": number, "name": name}
        for (group, name), number in zip(pairs, ids, strict=True)
    ]
