"""Protocols: what is measured about attribution maps.

Where to find a protocol. Each category is a folder, and each file in it is named as the protocol's card in
`registry/protocols/`, with `_` for `-`: `seg-epg` is `localization/seg_epg.py`. Two cards that differ only in their
fields name one class, which lies in the file of the card that was first: `idsds` in `faithfulness/sds.py`, `sch` in
`localization/x_seg_epg.py`. `xaibench show protocol NAME` prints the class of any protocol.

| folder | question |
| --- | --- |
| `faithfulness/` | does the map say what the model's output depends on? |
| `localization/` | does the map lie where the explained object is? |
| `robustness/` | does the map change as much as the image, and no more? |
| `randomization/` | does the map change when the model loses what it has learnt? |
| `complexity/` | does the map point at few pixels? |
| `model_checks/` | is the model itself fit for a protocol? (they measure models, without a method) |

`base.py` says what a protocol is and `api.py` is `xaibench.score`. Every other file of this folder is a helper that
several protocols share: `patches.py` (cells of a grid), `masks.py` (boxes and masks of a class), `curves.py` (orders of
pixels), `grids.py` (grids of images), `transforms.py` (crops, translations and flips), `imputation.py`,
`statistics.py`, `settings.py` (checks of settings), `masked_image.py` (the image times its map), `activations.py`
(images that activate a channel), and `single_deletion.py`, `insertion_deletion.py`, `incremental_deletion.py` and
`energy_pointing.py`, each for one family of protocols. `moved.py` lists older import paths, which still work. The score
functions of all protocols are also in `xaibench.functional`.
"""

from xaibench.protocols import moved

moved.register()
