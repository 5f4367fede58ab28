"""What a user might say next, by what it tells of the answer before: six categories, as in FLR (arXiv:2409.13948)."""

from typing import NamedTuple


class Followups(NamedTuple):
    """Sentences of a satisfied and of a dissatisfied user, as many of each."""

    positive: tuple[str, ...]
    negative: tuple[str, ...]


FOLLOWUPS: dict[str, Followups] = {
    "understanding": Followups(
        (
            "Yes, that is exactly what I meant.",
            "You got my question right.",
            "Good, you see what I am after.",
            "You read my request just as I intended it.",
            "Right, you know what I am asking for.",
            "I feel that you understood me.",
        ),
        (
            "No, that is not what I meant.",
            "You got my question wrong.",
            "Sorry, you do not see what I am after.",
            "You read my request in a way I never intended.",
            "Wait, do you even know what I am asking for?",
            "I feel that you misunderstood me.",
        ),
    ),
    "relevance": Followups(
        (
            "That is right on topic.",
            "Everything you said matters to my question.",
            "You stayed with the subject, thank you.",
            "This is the very thing I was asking about.",
            "That speaks directly to my problem.",
            "Good, nothing here is beside the point.",
        ),
        (
            "That is off topic.",
            "Nothing you said matters to my question.",
            "You changed the subject, please come back to it.",
            "This is not the thing I was asking about.",
            "That does not speak to my problem at all.",
            "Most of this is beside the point.",
        ),
    ),
    "correctness": Followups(
        (
            "That is correct.",
            "I checked it, and you are right.",
            "Yes, the facts are as you say.",
            "I see no mistake in this.",
            "It works just as you described.",
            "This agrees with everything I know.",
        ),
        (
            "That is wrong.",
            "I checked it, and you are mistaken.",
            "No, the facts are not as you say.",
            "I see a mistake in this.",
            "It does not work as you described.",
            "This contradicts everything I know.",
        ),
    ),
    "engagingness": Followups(
        (
            "That is fascinating, tell me more!",
            "I enjoy talking with you.",
            "Great, let us go on with this.",
            "This was a pleasure to read.",
            "Now I am curious about the rest.",
            "What a lively answer!",
        ),
        (
            "That is boring, let us stop here.",
            "I do not enjoy talking with you.",
            "I would rather not go on with this.",
            "This was tiring to read.",
            "Now I have lost all interest in the rest.",
            "What a dull answer.",
        ),
    ),
    "informativeness": Followups(
        (
            "I learned a lot from that.",
            "That is all the detail I needed.",
            "Thank you, now I know much more.",
            "Your examples make it clear.",
            "That answers every part of my question.",
            "There is a lot of useful information here.",
        ),
        (
            "I learned nothing from that.",
            "That lacks the detail I needed.",
            "Sorry, I know no more than before.",
            "Without an example it is not clear.",
            "That leaves most of my question open.",
            "There is hardly any information here.",
        ),
    ),
    "following": Followups(
        (
            "You did just what I asked for.",
            "Perfect, you kept to my instructions.",
            "That is the form I wanted it in.",
            "Thanks, you respected all my conditions.",
            "You left out nothing that I asked for.",
            "This is how I told you to do it.",
        ),
        (
            "You did not do what I asked for.",
            "Please keep to my instructions.",
            "That is not the form I wanted it in.",
            "Sorry, you ignored my conditions.",
            "You left out what I asked for.",
            "This is not how I told you to do it.",
        ),
    ),
}
"""By category. Written for this project; a positive and the negative beside it are close in wording and length, so
that what differs in likelihood is what they say."""
