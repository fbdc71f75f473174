"""Cards describe the entries of the registry: one pydantic model per kind of card."""

from xaibench.cards.comparison import ComparisonArm, ComparisonCard, ComparisonProtocol
from xaibench.cards.dataset import MIN_SIDE, DatasetCard, Geometry, Profile
from xaibench.cards.method import MethodCard
from xaibench.cards.model import Alignment, ModelCard, PublishedWeights
from xaibench.cards.part import Card, Paper, Part
from xaibench.cards.protocol import FurtherMetric, ProtocolCard
from xaibench.cards.read import CARD_TYPES, KINDS, read_card
from xaibench.cards.study import Claim, Fetched, PrintedNumbers, Sheet, StudyCard, StudyScale
from xaibench.cards.training import LossCard, RecipeCard, ScheduleCard

__all__ = [
    "CARD_TYPES",
    "KINDS",
    "MIN_SIDE",
    "Alignment",
    "Card",
    "Claim",
    "ComparisonArm",
    "ComparisonCard",
    "ComparisonProtocol",
    "DatasetCard",
    "Fetched",
    "FurtherMetric",
    "Geometry",
    "LossCard",
    "MethodCard",
    "ModelCard",
    "Paper",
    "Part",
    "PrintedNumbers",
    "Profile",
    "ProtocolCard",
    "PublishedWeights",
    "RecipeCard",
    "ScheduleCard",
    "Sheet",
    "StudyCard",
    "StudyScale",
    "read_card",
]
