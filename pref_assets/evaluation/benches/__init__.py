"""Public benches of reward models: their formats and the way each is counted."""

from pref_assets.evaluation.benches.mm_rlhf import MMRLHFBench
from pref_assets.evaluation.benches.reward_bench import RewardBench

__all__ = ["MMRLHFBench", "RewardBench"]
