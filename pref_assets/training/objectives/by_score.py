"""What objectives share whose label is what a score says, not what people voted."""

from pref_assets.training.objectives.kernel import ColumnName, Objective, PairLosses, Pairs


class ByScore(Objective):
    """An objective that reads from a score which side is better and how sure that is; votes are not looked at.

    Under such a loss a pair with its sides swapped, score and all, is the same pair, so a mean over both labels would
    change nothing.
    """

    def losses(self, pairs: Pairs) -> PairLosses:
        """The pair losses as they are, whatever ``p_chosen`` says."""
        return self.pair_losses(pairs)

    def refused(self) -> dict[ColumnName, str]:
        """Votes that differ have no place beside the score; ``soft_labels: false`` says to leave them out."""
        return {
            **super().refused(),
            "margin": "the score says already how far the sides are apart",
            "soft label": "the score decides which side is better and how sure that is; set `soft_labels: false` to "
            "leave out what the votes say",
        }
