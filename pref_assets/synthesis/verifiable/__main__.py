"""``python -m pref_assets.synthesis.verifiable``: makes the data set of verifiable preferences again."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from pref_assets.models.generation import Sampling
from pref_assets.models.reference import ModelNotFoundError
from pref_assets.synthesis.verifiable.dataset import FILES, write_dataset
from pref_assets.synthesis.verifiable.faults import Faults
from pref_assets.synthesis.verifiable.prompts import write_prompts
from pref_assets.synthesis.verifiable.sampling import Answering, answer

DESCRIPTION = """\
Makes preferences that anyone can verify.

1. Writes prompts whose constraints a program can check ("Use at most 8 words.").
2. Lets a small language model answer each prompt several times.
3. Checks every answer: its verdicts become ratings, rated by named annotators.
4. Plants known faults (turned-around labels, duplicates, contradictions, bad rows)
   and writes the truth beside them.

The folder then holds batches/ (the rows a pipeline reads), truth.jsonl.gz and recipe.json.
"""
EPILOG = """\
examples:
  python -m pref_assets.synthesis.verifiable --out /tmp/try --prompts 8
      a quick look: a minute on two cores
  python -m pref_assets.synthesis.verifiable --out pref_assets/data/verifiable
      the data set that ships with the project: about ten minutes on two free cores

Answers are kept while the work goes on: after an interruption the same command goes on
where it stopped. The same settings give the same data set.
"""


def parser() -> argparse.ArgumentParser:
    answering, faults = Answering(), Faults()
    sampling = answering.sampling
    made = argparse.ArgumentParser(
        prog="python -m pref_assets.synthesis.verifiable",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )

    def option(name: str, kind: type, default: object, text: str) -> None:
        made.add_argument(name, type=kind, default=default, help=f"{text} (default: {default})")

    made.add_argument("--out", type=Path, required=True, help="folder to write to; made when missing")
    option("--prompts", int, 672, "number of prompts")
    option("--completions", int, answering.completions, "answers to each prompt")
    option("--model", str, answering.model, "model that answers: package://module, a folder, or a hub id")
    option("--temperature", float, sampling.temperature, "randomness of the answers; 0 is none")
    option("--top-p", float, sampling.top_p, "probability that the tokens to draw from hold together")
    option("--max-new-tokens", int, sampling.max_new_tokens, "longest answer, in tokens")
    option("--batch-size", int, sampling.batch_size, "answers written at once: more is faster and takes more memory")
    option("--seed", int, 0, "seed of prompts, answers and faults")
    option("--flipped", float, faults.flipped, "share of single-annotator prompts whose ratings are turned around")
    made.add_argument("--answers", type=Path, help="file that keeps the model's answers (default: removed at the end)")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status."""
    made = parser()
    options = made.parse_args(arguments)
    if options.prompts < len(FILES) + 1:
        made.error(f"prompts: at least {len(FILES) + 1}, so that every file holds a row; {options.prompts} asked for")
    try:
        sampling = Sampling(
            max_new_tokens=options.max_new_tokens,
            temperature=options.temperature,
            top_p=options.top_p,
            batch_size=options.batch_size,
            seed=options.seed,
        )
        answering = Answering(model=options.model, completions=options.completions, sampling=sampling)
        faults = Faults(seed=options.seed, flipped=options.flipped)
        prompts = write_prompts(options.prompts, options.seed)
    except ValidationError as error:
        made.error("; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()))
    except ValueError as error:
        made.error(str(error))
    from tqdm import tqdm

    kept = options.answers or options.out / ".answers.jsonl"
    try:
        with tqdm(total=len(prompts), unit="prompt", desc="answering") as bar:

            def advance(done: int, total: int) -> None:
                bar.update(done - bar.n)

            answers = answer(prompts, answering, kept, advance)
    except (ModelNotFoundError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    recipe = write_dataset(prompts, answers, answering, faults, options.out)
    if options.answers is None:
        kept.unlink()
    measured = recipe["measured"]
    print(f"{options.out}: {', '.join(f'{name} ({rows} rows)' for name, rows in recipe['rows_by_file'].items())}")
    print(
        f"answers differ in their verdicts for {measured['prompts_with_different_verdicts']:.0%} of the prompts; "
        f"{measured['pairs_with_a_winner']} pairs have a winner"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
