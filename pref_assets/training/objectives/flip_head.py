"""The head that learns how likely a label is flipped."""

import torch


class FlipHead(torch.nn.Module):
    """Linear in states, whose gradient it stops: (n, hidden) -> (n, 1). Starts at a constant."""

    def __init__(self, hidden_size: int, start: float) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(hidden_size, 1)
        torch.nn.init.zeros_(self.linear.weight)
        torch.nn.init.constant_(self.linear.bias, start)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.linear(states.detach())
        return out
