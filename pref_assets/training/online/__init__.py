"""Online stages: the policy answers, the answers are rewarded, the policy learns from them, and again."""
