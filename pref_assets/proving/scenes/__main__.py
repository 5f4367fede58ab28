"""``python -m pref_assets.proving.scenes``: makes the scene world, or the plan of the model that learns in it."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from pref_assets.proving.scenes.backbone import write_plan
from pref_assets.proving.scenes.world import World, write_world

EPILOG = """\
examples:
  python -m pref_assets.proving.scenes --out pref_assets/data/scenes
      the world that ships with the project: seconds
  python -m pref_assets.proving.scenes --out /tmp/noisy --flipped 0.4
      another one, four tenths of whose rankings are turned around
  python -m pref_assets.proving.scenes --plan pref_assets/data/tiny_llava
      the model's configuration, processor and tokenizer
"""


def parser() -> argparse.ArgumentParser:
    world = World()
    made = argparse.ArgumentParser(
        prog="python -m pref_assets.proving.scenes",
        description="Small pictures, questions about them, answers with known faults, and annotators.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("--out", type=Path, help="folder for the world; made when missing")
    made.add_argument("--plan", type=Path, help="folder for the model's plan; made when missing")
    made.add_argument("--prompts", type=int, default=world.prompts, help=f"rows (default: {world.prompts})")
    made.add_argument("--bench", type=int, default=world.bench, help=f"prompts of the bench (default: {world.bench})")
    made.add_argument("--flipped", type=float, default=0.0, help="share of rankings turned around (default: 0)")
    made.add_argument("--seed", type=int, default=0, help="another seed draws everything anew (default: 0)")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status."""
    made = parser()
    options = made.parse_args(arguments)
    if options.out is None and options.plan is None:
        made.error("nothing to make: say --out or --plan")
    try:
        world = World(seed=options.seed, prompts=options.prompts, bench=options.bench, flipped=options.flipped)
    except ValidationError as error:
        made.error("; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()))
    if options.out is not None:
        recipe = write_world(world, options.out)
        print(f"{options.out}: {sum(recipe['rows'].values())} rows, {recipe['pairs']} pairs that are no ties")
    if options.plan is not None:
        print(write_plan(options.plan))
    return 0


if __name__ == "__main__":
    sys.exit(main())
