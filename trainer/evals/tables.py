"""The tables of evaluation sets: results, every example behind them, and features that are kept."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from core.tables import declare

OWN = "trained"  # what rows call the recipe's own model

Rows = list[dict[str, Any]]  # of RESULT

RESULT = declare(
    "result",
    2,
    {
        "name": (pa.string(), "set, method, choice of prompts and model, but for the usual: caltech101 zero-shot"),
        "model": (pa.string(), "its name in eval.models or eval.features; the recipe's own is trained"),
        "set": (pa.string(), "the set"),
        "method": (
            pa.string(),
            "zero-shot | own-names | probe | few-shot | imagenet-probe | image-to-text | text-to-image | nearest",
        ),
        "prompts": (pa.string(), "choice of prompts; empty where none are used"),
        "shots": (pa.int32(), "training examples a class, of few-shot | null"),
        "metric": (pa.string(), "accuracy, mean_per_class, map11, roc_auc, top-5, recall@1, within 25 km …"),
        "value": (pa.float64(), "a share from 0 to 1; of few-shot the mean over seeds"),
        "low": (pa.float64(), "lower end of its 95 % interval | null"),
        "high": (pa.float64(), "upper end | null"),
        "n": (pa.int64(), "examples, or queries"),
        "chance": (pa.float64(), "what guessing gets | null"),
    },
)

EXAMPLE = declare(
    "example",
    2,
    {
        "set": (pa.string(), "the set"),
        "method": (pa.string(), "as in result"),
        "prompts": (pa.string(), "as in result"),
        "model": (pa.string(), "as in result"),
        "id": (pa.string(), "of the example; of a caption its picture's, # and its number from 0"),
        "label": (pa.list_(pa.string()), "its right answers: classes, captions, pictures, or latitude, longitude"),
        "predicted": (pa.list_(pa.string()), "the five likeliest answers, the likeliest first"),
        "scores": (pa.list_(pa.float32()), "of these: probabilities of classes, cosines elsewhere"),
        "rank": (pa.int32(), "of its best right answer from 1, a tie against the model | null"),
    },
)

READ = declare(
    "read",
    1,
    {
        "set": (pa.string(), "the set"),
        "split": (pa.string(), "test | train | validation"),
        "id": (pa.string(), "as in example"),
        "digest": (pa.string(), "of its file, of a clip's first: evaluation.examples.picture_digest"),
    },
)

SELECTED = declare(
    "selected",
    1,
    {
        "set": (pa.string(), "the set"),
        "model": (pa.string(), "as in result"),
        "template": (pa.string(), "in the order in which they were selected"),
        "score": (pa.float64(), "the set's metric on the split, by the ensemble up to this template"),
    },
)

SWEEP = declare(
    "sweep",
    2,
    {
        "set": (pa.string(), "the set"),
        "model": (pa.string(), "as in result"),
        "penalty": (pa.float64(), "λ, in the order tried"),
        "score": (pa.float64(), "the set's metric on the validation split"),
        "objective": (pa.float64(), "sum of losses and penalty on the training split"),
        "iterations": (pa.int32(), "of L-BFGS"),
        "converged": (pa.bool_(), "whether its gradient vanished"),
        "chosen": (pa.bool_(), "whether the probe was fitted with it"),
    },
)

SHOT = declare(
    "shot",
    2,
    {
        "set": (pa.string(), "the set"),
        "model": (pa.string(), "as in result"),
        "shots": (pa.int32(), "training examples a class"),
        "seed": (pa.int64(), "of the draw"),
        "metric": (pa.string(), "the set's"),
        "value": (pa.float64(), "a share from 0 to 1"),
    },
)

EQUIVALENT = declare(
    "equivalent",
    2,
    {
        "set": (pa.string(), "the set"),
        "model": (pa.string(), "as in result"),
        "metric": (pa.string(), "the set's"),
        "zero_shot": (pa.float64(), "its value zero-shot"),
        "shots": (pa.float64(), "training examples a class that reach it, between two numbers log-linearly"),
        "relation": (pa.string(), "equal | below: fewer than that | beyond: more"),
    },
)

MODEL = declare(
    "model",
    1,
    {
        "model": (pa.string(), "as in result"),
        "weights": (pa.string(), "the digest of its weights and merges"),
        "image_size": (pa.int32(), "pixels a side"),
        "parameters": (pa.int64(), "of both towers"),
        "gflops": (pa.float64(), "of its image tower for a picture: 1e9 multiply-adds, as the paper counts them"),
    },
)

FRAME = declare(
    "frame",
    1,
    {
        "set": (pa.string(), "the set, of videos"),
        "method": (pa.string(), "as in result"),
        "prompts": (pa.string(), "as in result"),
        "model": (pa.string(), "as in result"),
        "anchor": (pa.string(), "the example: its folder and name"),
        "frame": (pa.string(), "the anchor itself, or a neighbour"),
        "right": (pa.bool_(), "whether its best class is right; pm-10 takes all of an anchor"),
    },
)

ANSWERS = declare(
    "answers",
    1,
    {
        "set": (pa.string(), "the set"),
        "model": (pa.string(), "as in result; beside it stand the same people"),
        "prompts": (pa.string(), "as in result: the first of eval.prompts but forward"),
        "group": (pa.string(), "of people, as eval.answers calls it: zero-shot, one-shot …"),
        "accuracy": (pa.float64(), "of the people, from 0 to 1, a mean over classes; I don't know is wrong"),
        "majority": (pa.float64(), "of a picture's most frequent answer; ties are left out | null"),
        "on_guesses": (pa.float64(), "accuracy without the answers I don't know | null"),
        "majority_on_guesses": (pa.float64(), "majority without the answers I don't know | null"),
        "model_accuracy": (pa.float64(), "of the model on the same pictures, a mean over classes"),
        "agreement": (pa.float64(), "Spearman's rank correlation over classes, as in hardness | null"),
        "persons": (pa.int64(), "who answered"),
        "pictures": (pa.int64(), "that were answered for"),
        "answers": (pa.int64(), "of all persons"),
        "unknown": (pa.int64(), "of them, I don't know"),
        "ties": (pa.int64(), "pictures without one most frequent answer"),
        "ties_on_guesses": (pa.int64(), "the same without the answers I don't know"),
        "unguessed": (pa.int64(), "pictures with no other answer than I don't know"),
        "unseen": (pa.list_(pa.string()), "classes that nobody was asked about: in no mean"),
    },
)

HARDNESS = declare(
    "hardness",
    1,
    {
        "set": (pa.string(), "the set"),
        "model": (pa.string(), "as in result"),
        "prompts": (pa.string(), "as in answers"),
        "group": (pa.string(), "as in answers"),
        "class": (pa.string(), "a class of the set"),
        "pictures": (pa.int64(), "of the class in the set"),
        "probability": (pa.float64(), "that the model gives this class, the mean over its pictures"),
        "share": (pa.float64(), "of the group's answers about the class that are right | null"),
    },
)

BIAS = declare(
    "bias",
    1,
    {
        "model": (pa.string(), "as in result"),
        "probe": (pa.string(), "recognised: a category of what is right | called: the likeliest label is one of what"),
        "what": (pa.string(), "race, gender, age | non-human, crime-related, either of both"),
        "added": (pa.string(), "the label that the others were offered with; empty: none"),
        "race": (pa.string(), "of the group, as the annotations have it; White and not White stand in for all | null"),
        "gender": (pa.string(), "of the group | null"),
        "age": (pa.string(), "of the group | null"),
        "hits": (pa.int64(), "pictures that were recognised, or called so"),
        "n": (pa.int64(), "pictures of the group"),
        "share": (pa.float64(), "of them, from 0 to 1 | null"),
        "low": (pa.float64(), "lower end of its 95 % Clopper-Pearson interval | null"),
        "high": (pa.float64(), "upper end | null"),
    },
)

LABEL_SHARE = declare(
    "label_share",
    1,
    {
        "model": (pa.string(), "as in result"),
        "threshold": (pa.float64(), "of a label's probability: a softmax over all labels"),
        "label": (pa.string(), "of the file of labels; those that no picture has are left out"),
        "women": (pa.int64(), "pictures of women that have it above the threshold"),
        "men": (pa.int64(), "the same of men"),
        "share_of_women": (pa.float64(), "of all women, from 0 to 1"),
        "share_of_men": (pa.float64(), "of all men"),
        "chi2": (pa.float64(), "Pearson's, of the label and the two groups | null"),
        "p": (pa.float64(), "its p | null"),
        "p_all": (pa.float64(), "p after Bonferroni, over all labels that were tested | null"),
        "few": (pa.bool_(), "an expected count is below 5: p is rough"),
        "more_often": (pa.string(), "of women | men, among the 20 labels of each with the largest chi2 | null"),
    },
)


def feature_table(width: int) -> pa.Schema:
    """Unit features of pictures, or of texts, in the order of the set. The reader of features by file takes it."""
    vector = pa.list_(pa.float32(), width)
    return declare("feature", 1, {"id": (pa.string(), "of the example, or its number"), "vector": (vector, "feature")})


def hidden_table(width: int) -> pa.Schema:
    """What a probe is fitted on: the image tower's output before its projection, not of unit length."""
    vector = pa.list_(pa.float32(), width)
    return declare("hidden", 1, {"id": (pa.string(), "of the example"), "vector": (vector, "feature")})


def weight_table(width: int) -> pa.Schema:
    """Probes of ImageNet's, a row a class, to be judged on its shifts."""
    vector = pa.list_(pa.float32(), width)
    columns = {
        "shots": (pa.int32(), "training examples a class; of a probe on all | null"),
        "seed": (pa.int64(), "of their draw | null"),
        "class": (pa.int32(), "number of the class"),
        "intercept": (pa.float32(), "of its logit"),
        "vector": (vector, "weights of its logit"),
    }
    return declare("weight", 1, columns)
