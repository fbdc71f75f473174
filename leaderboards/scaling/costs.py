"""What the simulated studies cost: every number with its range and where it is from."""

from __future__ import annotations

from dataclasses import dataclass

MEASURED, COUNTED, PUBLISHED, ASSUMED = "measured", "counted", "published", "assumed"


@dataclass(frozen=True)
class Number:
    """A value, its unit, the least and the largest that it may have, whether it was measured, and a note of how."""

    value: float
    unit: str
    low: float
    high: float
    source: str
    note: str


NUMBERS = {
    "pass": Number(
        25.9 / 32 / 2947, "s", 9.4 / 32 / 2947, 25.9 / 32 / 2947, MEASURED,
        "a forward-equivalent of ResNet-50 at 224 pixels, of 19 methods in float32 on an H200; least: bfloat16",
    ),
    "bare pass": Number(
        25.9 / 1.09 / 32 / 2947, "s", 9.4 / 1.48 / 32 / 2947, 25.9 / 32 / 2947, MEASURED,
        "the same of bare passes; an image of a training is three",
    ),
    "startup": Number(14.5, "s", 13, 60, MEASURED, "a command beside its loop: 13 to 16 s; more on a slow disk"),
    "list": Number(11e-6, "s", 3e-6, 30e-6, MEASURED, "of the processor, for each file of rows at each look"),
    "read": Number(1.5e-3, "s", 0.8e-3, 5e-3, MEASURED, "of the processor, to read what a new file holds"),
    "row": Number(16.5, "bytes", 10.5, 16.5, MEASURED, "in a file of 736 rows; least: in one of 57,600"),
    "claim": Number(
        3e-3, "s", 1e-3, 50e-3, MEASURED,
        "for which a claim holds the table, beside its requests: of the processor, with 300 claims in it; least: with "
        "none; largest: the time that passed, on a machine with seven others for each core",
    ),
    "latency": Number(1e-3, "s", 0.2e-3, 5e-3, ASSUMED, "a request to the shared file system, when it is idle"),
    "rate": Number(10_000, "requests/s", 1_000, 50_000, ASSUMED, "what its server of names and locks does"),
    "training gain": Number(0.9, "", 0.6, 1, ASSUMED, "by which each further GPU makes a training faster"),
    "failure": Number(6335, "h", 500, 20_000, PUBLISHED,
                      "between failures of a node: 419 in 54 days of 2048 nodes (training of Llama 3)"),
    "away": Number(1, "h", 0.25, 24, ASSUMED, "until a failed node is back"),
    "preemption": Number(24, "h", 4, 100, ASSUMED, "between preemptions of a spot node, exponential"),
    "replaced": Number(10, "min", 2, 120, ASSUMED, "until another node is there"),
    "gpu spread": Number(0.05, "", 0, 0.15, ASSUMED, "of the logarithm of a GPU's time for the same work, normal"),
    "task spread": Number(0.1, "", 0, 0.5, ASSUMED, "of the logarithm of a task's time, normal"),
    "slow share": Number(0.02, "", 0, 0.1, ASSUMED, "of GPUs that take twice as long"),
    "price": Number(2.5, "$/GPU-hour", 1, 6, ASSUMED, "of a GPU of this kind"),
    "world passes": Number(
        60_000, "", 20_000, 250_000, ASSUMED,
        "forward-equivalents an image of 60 methods under 30 protocols; 3284 were measured of six methods under 15 "
        "protocols",
    ),
    "world spread": Number(1, "", 0.5, 1.5, ASSUMED,
                           "of the logarithm of a model's multiplications, normal around 4.09 billion"),
}  # fmt: skip

HESSE = {  # 10^9 multiplications and additions of a pass at 224 pixels, counted by torch's FlopCounterMode
    "resnet18": 1.81, "resnet50": 4.09, "resnet101": 7.8, "resnet152": 11.51, "wide_resnet50_2": 11.4,
    "fixup_resnet50": 4.09, "x_resnet50": 4.09, "vgg11": 7.61, "vgg13": 11.31, "vgg16": 15.47, "vgg19": 19.63,
    "vgg16_bn": 15.47, "x_vgg16": 15.47, "vit_base_patch16_224": 17.56, "bagnet33": 16.0,
    "bcos_resnet50": 4.09,  # could not be counted: taken as ResNet-50
}  # fmt: skip
REFERENCE = HESSE["resnet50"]  # the network whose passes were measured; others cost in proportion


def usual() -> dict[str, float]:
    """The value of each number."""
    return {name: number.value for name, number in NUMBERS.items()}
