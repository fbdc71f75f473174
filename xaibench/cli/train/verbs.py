"""The verbs of `xaibench train`: what each trains, with examples; their options are those of `training.config`."""

from __future__ import annotations

from xaibench.cli.train import guided
from xaibench.cli.train.options import verb
from xaibench.cli.train.run import run

verb(
    "adversarial",
    run,
    """Fine-tune on attacked images (projected gradient descent), from the weights of the plain model.

    By default all layers for ten epochs by Adam at 1e-4. Accuracy under attack stands beside that on clean images in
    the metrics of each epoch, and chooses the epoch that is kept.
    """,
    """
\b
Examples:
  xaibench train classifier --model critters_cnn --dataset critters
  xaibench train adversarial --model critters_cnn --dataset critters --epsilon 4/255 --name my_robust
  xaibench run obey --model my_robust --methods grad-cam
  xaibench train adversarial --model resnet18 --dataset pet --data-root pets --norm l2 --epsilon 0.3
""",
)
verb(
    "cgc",
    run,
    """Train with CGC: the Grad-CAM map of a moved image is to be the moved map, and unlike those of other images.

    Three views of each image are classified, so an epoch takes three passes, and a second derivative.
    """,
    """
\b
Examples:
  xaibench train cgc --model resnet18 --dataset critters --name my_cgc
  xaibench run ses,sch --model my_cgc --methods grad-cam
  xaibench train cgc --model resnet18 --dataset imagenet-s50 --data-root INS --epochs 100 --batch-size 128
""",
)
verb(
    "classifier",
    run,
    """Train on intact images: weights for SDS, and the start of a fine-tuning.""",
    """
\b
Examples:
  xaibench train classifier --model resnet18 --dataset critters
  xaibench train classifier --model resnet18 --dataset imagefolder --data-root photos --recipe start=scratch
  xaibench train classifier --model critters_cnn --dataset critters --fit over --name my_overfitted
  xaibench train classifier --model resnet50 --dataset imagefolder --data-root photos --processes 4
  accelerate launch --multi_gpu --num_processes 4 -m xaibench train classifier --config train.toml
  xaibench train classifier --config train.toml --seed 1
""",
)
verb(
    "patch-deletion",
    run,
    """Fine-tune on images of which half have lost one cell, so that IDSDS can evaluate the model.

    The recipe is the paper's (30 epochs of SGD from the plain weights), or that of the data set's card. A checkpoint is
    written after each epoch: the same command after an interruption goes on from there. With --teacher self no labels
    are needed: the network learns, on a few photos, to answer as it does when they are intact.
    """,
    """
\b
Examples:
  xaibench train patch-deletion --model resnet50 --dataset imagenet --data-root ILSVRC2012 --download
  xaibench train patch-deletion --model resnet18 --dataset critters --grid 8
  xaibench train patch-deletion --model my_models.py:make --dataset critters
  xaibench train patch-deletion --teacher self --images 256 --model resnet18 --dataset critters
  xaibench run idsds --model resnet18 --weights self-aligned
""",
)
verb(
    "random-masks",
    run,
    """Fine-tune on images that have lost random pixels, so that F-Fidelity can evaluate the model.""",
    """
\b
Examples:
  xaibench train random-masks --model resnet18 --dataset critters --share 0.1
  xaibench run f-fidelity --model resnet18
""",
)
verb(
    "part-deletion",
    run,
    """Train on images whose objects lack some parts, so that the model knows such images when parts are deleted.

    For data sets that draw their images and can leave parts out (their option drop_parts).
    """,
    """
\b
Examples:
  xaibench train part-deletion --model resnet18 --dataset critters --probability 0.2
  xaibench run part-deletion --model resnet18
""",
)
verb(
    "guided",
    guided.run,
    """Fine-tune a model so that its attributions lie on the annotated objects (Rao et al. 2023).

    It starts from the plain weights, which are trained first where the data set has a recipe for them. Every epoch is
    measured on validation images (F1 or accuracy, EPG, IoU); the Pareto front over lambdas and epochs is measured on
    test images, and one model of it is exported. The same command after an interruption goes on from there.
    """,
    """
\b
Examples:
  xaibench train guided --model critters_cnn --dataset critters-spurious --lambda 1e-3,5e-3 --name my_guided
  xaibench train guided --model critters_cnn --dataset critters-spurious --loss l1 --layer Final --fraction 0.1
  xaibench train guided --model resnet50 --dataset voc2007 --data-root VOC --weights BASELINE --epochs 50
  xaibench train guided --model resnet50 --dataset waterbirds100 --data-root WB --choose score --repeats 2 --subsets 2
""",
)
verb(
    "lico",
    run,
    """Train with LICO: image features are matched to those of a text about the class.

    The loss is cross entropy + alpha x manifold matching + beta x optimal transport, from scratch, with the published
    schedule and clip; the baseline is `xaibench train classifier` with the same two. Only the image model is kept.
    """,
    """
\b
Examples:
  xaibench train lico --model resnet18 --dataset critters --text-encoder words --name my_lico
  xaibench train lico --model resnet18 --dataset imagenet-s50 --data-root INS --download --epochs 100 --batch-size 128
  xaibench train lico --model resnet18 --dataset critters --text-encoder words --terms ot --prompt label-first
  xaibench train classifier --model resnet18 --dataset critters --recipe schedule=lico --recipe gradient_clip=0.5
""",
)
