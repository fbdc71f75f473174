"""The card of a study: one table or figure of a paper, and what decides its claims."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, model_validator

from xaibench.cards.part import Card, Paper, Part

Scale = Literal["embedded", "real", "paper"]
SCALES: tuple[Scale, ...] = ("embedded", "real", "paper")
"""On critters; on photos and networks that pip and small downloads bring; on the paper's data."""

Names = Annotated[tuple[str, ...], BeforeValidator(lambda given: (given,) if isinstance(given, str) else given)]
"""Several names, or one."""


class Fetched(Part):
    """Something that a scale needs and that is not here."""

    what: str
    """What to fetch."""
    url: str = ""
    """Where it is."""
    gigabytes: float = Field(gt=0)
    """About how large it is to download."""


class Sheet(Part):
    """A figure of images, drawn from networks and not from results."""

    kind: Literal["channels", "attacks", "maps"]
    """channels: the images that activate random channels of the last map most, a row per channel and network. attacks:
    images, the same attacked by projected gradient descent on their predicted class, and the change. maps: images, and
    the maps of their labels by networks that differ in their training, a row per network."""
    networks: dict[str, dict[str, Any]] = {}
    """By name: the fields of a run (`RunConfig`), whose network and images are taken."""
    comparison: dict[str, Any] = {}
    """maps, in the place of networks: the fields of a comparison (`ComparisonConfig`) of one model."""
    arms: tuple[str, ...] = ()
    """The arms of the comparison whose networks are taken, each in its first training."""
    method: str = ""
    """maps: the method."""
    layer: str | None = None
    """maps: the stage of the model at which they are taken; None: the input."""
    rows: int = Field(3, ge=1)
    """channels: how many channels."""
    columns: int = Field(6, ge=1)
    """How many images of a row."""
    attack: dict[str, Any] = {}
    """attacks, and maps of attacked images too: norm, epsilon, steps and step_size, as of `xaibench train
    adversarial`."""

    @model_validator(mode="after")
    def _fields_of_kind(self) -> Sheet:
        if self.kind == "maps" and not self.method:
            raise ValueError("a sheet of maps needs a method")
        if self.kind != "maps" and (self.comparison or not self.networks):
            raise ValueError(f"a sheet of {self.kind} needs networks")
        if self.kind == "maps" and bool(self.networks) == bool(self.comparison and self.arms):
            raise ValueError("a sheet of maps needs networks, or a comparison with arms")
        return self


class StudyScale(Part):
    """A study on one kind of data: the requests that make its numbers."""

    runs: dict[str, dict[str, Any]] = {}
    """Boards by name: the fields of a run (`RunConfig`) of one protocol each."""
    comparisons: dict[str, dict[str, Any]] = {}
    """Comparisons of designs by name: the fields of their request (`ComparisonConfig`)."""
    names: dict[str, str] = {}
    """What claims and printed numbers call a model, arm, board or class, and its name here where that is another."""
    trainings: dict[str, dict[str, Any]] = {}
    """Models that requests name and that are trained first, by name: the fields of their training (`TrainingConfig`).
    One that starts from another stands after it."""
    masks: dict[str, dict[str, Any]] = {}
    """Masks that runs name and that are made first, by their folder: the fields of their request (`MasksConfig`)."""
    sheets: dict[str, Sheet] = {}
    """Figures of images by name."""
    fetch: tuple[Fetched, ...] = ()
    """What must be fetched first."""
    forward_equivalents: float | None = Field(None, gt=0)
    """About how many passes of one image through its network, trainings included."""
    gpu_hours: float | None = Field(None, gt=0)
    """About how many hours of one H200 GPU in float32."""
    missing: str = ""
    """Why it cannot run, where nothing above makes it run."""

    @property
    def runs_something(self) -> bool:
        """Whether there is any request."""
        return bool(self.runs or self.comparisons or self.sheets)


class PrintedNumbers(Part):
    """Numbers that a paper prints, and the numbers of ours that stand beside them."""

    file: str
    """A file of `leaderboards/reported/`."""
    item: str = ""
    """The value of its column `item`; empty: the study's."""
    key: tuple[str, ...] = Field(min_length=1)
    """The columns that name a number."""
    value: str = ""
    """The column of the number; empty: the file is shown and not compared."""
    run: str = ""
    """The board whose means are compared, by the names of methods."""
    comparison: str = ""
    """The comparison whose arms are compared, by their means of `method`."""
    protocol: str = ""
    """The protocol of the comparison, as its tables call it; empty: the first."""
    method: str = ""
    """The method of the comparison's means; empty: all that are ranked."""
    ours: dict[str, str] = {}
    """Our name of a printed one; by default its lower-case letters. `NAME@RUN` is a method of another board, and
    `NAME@RUN:METRIC` its mean of another metric."""
    boards: dict[str, str] = {}
    """The same as `METHOD@RUN`, for scales that have runs in the place of the comparison."""
    unit: float = Field(1.0, gt=0)
    """By what printed numbers are divided, such as 100 for per cent."""
    accuracy: bool = False
    """Whether accuracies are compared instead of scores."""
    group: Names = ()
    """Of a comparison's accuracies: a group of images, the first of these names that the data set has; empty: all. Of
    boards by correctness: `correct` or `incorrect`."""
    by: Literal["", "class", "correctness"] = ""
    """Of boards: means of groups of images. class: those whose names the printed ones are, on the board `run` by
    `method`. correctness: of right or wrong predictions."""


class Claim(Part):
    """What a paper says of the numbers, and the statistic that decides whether ours show it."""

    name: str
    """Such as `H2`, unique among all studies; as in the paper where it has one (`R1`)."""
    text: str
    """The claim."""
    statistic: Literal[
        "better", "at-most", "between-groups", "correlation", "ratio", "change", "across", "accuracy", "seconds",
        "changes-less", "order", "trade-off", "none",
    ]  # fmt: skip
    """better: pairs of methods on one board or (`METHOD@RUN`) two, by paired sign-flip tests over images. at-most: the
    interval of a method's mean. between-groups: the interval of the difference between two groups of images.
    correlation: that of the correlation with another metric. ratio: whether means are between `low` and `high` times
    others. change: the interval of the mean change between arms, over trainings and images. across: the same, between a
    method of one arm and one of another. accuracy: the same, of the accuracy on `group`. seconds: the ratio of the
    seconds of an epoch. changes-less: whether the score of `other_protocol` changes less than that of `protocol`.
    order: the rank correlation of two boards. trade-off: the rank correlation of best scores and accuracies of all
    boards. none: nothing here measures it, and `why` says what is lacking."""
    run: str = ""
    """The board of `better`, `at-most`, `between-groups`, `correlation` and (with `other`) `order`."""
    other: str = ""
    """The second board of `order`."""
    comparison: str = ""
    """The comparison of `change`, `across`, `accuracy`, `seconds` and `changes-less`."""
    protocol: str = ""
    """The protocol of the comparison, as its tables call it; empty: the first."""
    other_protocol: str = ""
    """changes-less: the one that changes less."""
    pairs: tuple[tuple[str, str], ...] = ()
    """better: (the better, the worse) method. ratio: two of METHOD@RUN. change, across, accuracy, seconds: (before,
    after) arms, of every model of the comparison unless a name begins with `MODEL: `; empty: all there are."""
    methods: tuple[str, ...] = ()
    """at-most, between-groups, correlation: the methods. change, changes-less: one that must change, instead of the
    mean of all. across: that of each arm; `best`: the one with the best mean."""
    group: Names = ("all images",)
    """accuracy: the images, all or a group of the data set; of several names the first that the data set has."""
    direction: Literal["up", "down"] = "up"
    """change, across, accuracy, between-groups, correlation, trade-off: where the number goes, whichever end is the
    better one."""
    low: float | None = None
    high: float | None = None
    """In the place of a direction: the least and the largest number that the claim allows, such as -0.05 and 0.05 for
    `hardly changes`. The margin is ours where the paper gives none, and the study's notes say why it is this one."""
    by: Literal["class", "correctness"] = "class"
    """between-groups: what makes groups of images."""
    groups: tuple[str, ...] = ()
    """between-groups: the first and the second; `others` is all that are not in the other one."""
    metric: str = ""
    """correlation: the other metric of the protocol."""
    per_root: bool = False
    """correlation: of the score divided by the root of the other metric."""
    bound: float | None = None
    """at-most: the largest mean. order: the least rank correlation that the claim allows."""
    why: str = ""
    """none: what is lacking. Else: why some scale does not have what decides it."""

    @model_validator(mode="after")
    def _fields_of_statistic(self) -> Claim:
        needed = {
            "better": ("run", "pairs"), "at-most": ("run", "methods", "bound"), "change": ("comparison",),
            "across": ("comparison", "pairs", "methods"), "accuracy": ("comparison",),
            "between-groups": ("run", "methods", "groups"), "correlation": ("run", "methods", "metric"),
            "ratio": ("pairs", "low", "high"), "seconds": ("comparison", "low", "high"),
            "changes-less": ("comparison", "protocol", "other_protocol"),
            "order": ("run", "other", "bound"),
            "trade-off": (), "none": ("why",),
        }[self.statistic]  # fmt: skip
        if lacking := [name for name in needed if getattr(self, name) in ("", (), None)]:
            raise ValueError(f"claim {self.name}: the statistic {self.statistic!r} needs {', '.join(lacking)}")
        if self.groups and len(self.groups) != 2:
            raise ValueError(f"claim {self.name}: groups are two, not {len(self.groups)}")
        if self.low is not None and self.high is not None and self.low >= self.high:
            raise ValueError(f"claim {self.name}: low {self.low:g} is not below high {self.high:g}")
        return self


class Drawn(Part):
    """A panel of a study's figure, as the paper draws it."""

    kind: Literal["methods", "accuracy", "front", "group-accuracy", "lines", "box-plot", "bars", "beside", "seconds"]
    """methods: a column of marks per board, or per arm of a comparison under `protocol`. accuracy: the best score of
    each board against the accuracy of its model. front: score against accuracy, a mark per training of each arm.
    group-accuracy: the accuracy on `group` against that on all images, a mark per training of each arm. lines: score
    over `option`, a line for all arms that differ in nothing else. box-plot: scores by `metric`. bars: the printed
    numbers. beside: ours against these. seconds: of an epoch of each arm."""
    comparison: str = ""
    """methods, front, group-accuracy, lines, seconds: the comparison."""
    group: Names = ()
    """group-accuracy: a group of the data set; of several names the first that it has."""
    protocol: str = ""
    """methods, front, lines: its protocol, as its tables call it; empty: the first."""
    option: str = ""
    """lines: the option of the arms' training on the axis, such as lambda, dilate or fraction."""
    accuracy: bool = False
    """lines: the accuracy in the place of the score."""
    run: str = ""
    """box-plot: the board."""
    method: str = ""
    """front, lines: of which method the score is; empty: the mean of all that are ranked. box-plot: the method."""
    by: Literal["", "class", "correctness"] = ""
    """box-plot: what makes groups of images; empty: `metric` does."""
    metric: str = ""
    """box-plot: the other metric, by which rows are grouped; with `by` that of the scores, "" for the board's."""
    per_root: bool = False
    """box-plot: the score is divided by the root of that metric."""

    @model_validator(mode="after")
    def _fields_of_kind(self) -> Drawn:
        every = {
            "front": ("comparison",), "group-accuracy": ("comparison", "group"), "lines": ("comparison", "option"),
            "box-plot": ("run", "method", "metric"), "seconds": ("comparison",),
        }  # fmt: skip
        needed = [name for name in every.get(self.kind, ()) if not (self.by and name == "metric")]
        if lacking := [name for name in needed if not getattr(self, name)]:
            raise ValueError(f"a figure of kind {self.kind!r} needs {', '.join(lacking)}")
        return self


class StudyCard(Card):
    """One table or figure of a paper (`xaibench study run NAME`): runs, printed numbers, claims."""

    kind: ClassVar[str] = "study"
    paper: Paper
    """The paper."""
    item: str
    """The table or figure, as the paper calls it."""
    content: Literal["numbers", "plot", "gallery", "facts", "unseen"]
    """numbers: a table of results. plot: a figure of results. gallery: maps of photos. facts: settings, data or
    questions, without a result. unseen: only references to it are in the text that we have."""
    shows: str
    """What it shows, in one sentence."""
    printed: tuple[PrintedNumbers, ...] = ()
    """The printed numbers; empty where none can be read."""
    claims: tuple[Claim, ...] = ()
    """What the paper says of it."""
    figure: tuple[Drawn, ...] = ()
    """The panels of its figure; empty: one of `methods`."""
    scales: dict[Scale, StudyScale]
    """By the kind of data."""

    @model_validator(mode="after")
    def _every_scale(self) -> StudyCard:
        """Each scale either runs or says why not; a result of the paper's scale says what it costs."""
        if self.content in ("facts", "unseen"):
            return self
        for scale in SCALES:
            one = self.scales.get(scale)
            if one is None or not (one.runs_something or one.missing):
                raise ValueError(f"scale {scale}: give runs, comparisons or sheets, or say why by `missing`")
        paper = self.scales["paper"]
        if paper.runs_something and not (paper.fetch and paper.gpu_hours and paper.forward_equivalents):
            raise ValueError(
                "scale paper: say what to fetch (fetch) and what it costs (forward_equivalents, gpu_hours)"
            )
        return self
