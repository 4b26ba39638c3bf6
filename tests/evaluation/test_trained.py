"""What a trained model is called, and what a result says of it."""

from __future__ import annotations

from typing import Any

import pytest

from qpibench.evaluation.run_record import RunRecord
from qpibench.evaluation.trained import method_name, model_name, training_record


def run_record(*, source: str = "release", **fields: Any) -> RunRecord:
    content = "b" * 64 if source == "release" else None
    return RunRecord.model_validate(
        {
            "entry": "two_step",
            "entry_file": None,
            "entry_sha256": "a" * 64,
            "code_sha256": None,
            "qpibench_version": "0.1.0",
            "git_commit": "c" * 40,
            "config": {"recipe": "article", "preset": "compact"},
            "seed": 0,
            "source": {"kind": source, "name": "paper", "spec_sha256": "d" * 64, "content_sha256": content},
            "steps_stated": 200,
            "steps_budget": 200,
            "steps_done": 50,
            "seconds": 1800.0,
            "hardware": "a processor",
            "environment": {},
            **fields,
        }
    )


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({}, "two_step (article, compact, seed 0)"),
        ({"seed": 2, "source": "stream"}, "two_step (article, compact, stream, seed 2)"),
        (
            {"options": {"symmetry_weight": 0.0, "map_mode": "exact"}},
            "two_step (article, compact, map_mode=exact, symmetry_weight=0.0, seed 0)",
        ),
        ({"config": {"recipe": {"name": "code", "alpha": 1}}}, "two_step (code, seed 0)"),
        ({"config": {}}, "two_step (seed 0)"),
        (
            {"config": {"recipe": "article", "preset": "sdxl", "pretrained": "madebyollin/sdxl-vae-fp16-fix"}},
            "two_step (article, sdxl, pretrained=madebyollin/sdxl-vae-fp16-fix, seed 0)",
        ),
        (
            {
                "config": {"preset": "tiny", "pretrained": f"vae.safetensors sha256:{'0a' * 32}"},
                "options": {"samples": 8},
            },
            "two_step (tiny, pretrained=vae.safetensors sha256:0a0a0a0a, samples=8, seed 0)",
        ),
        ({"config": {"preset": "sdxl", "pretrained": None}}, "two_step (sdxl, seed 0)"),
    ],
)
def test_the_name_has_what_sets_a_run_apart(fields, name):
    assert model_name(run_record(**fields)) == name


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({}, "two_step (article, compact)"),
        ({"config": {}}, "two_step"),
        ({"seed": 12, "options": {"alpha": 0.5}}, "two_step (article, compact, alpha=0.5)"),
    ],
)
def test_the_runs_of_a_method_share_its_name(fields, name):
    assert method_name(model_name(run_record(**fields))) == name


@pytest.mark.parametrize("name", ["zeros", "my_model:NAME", "two_step (seed 1) and more"])
def test_the_name_of_what_has_no_seed_stays(name):
    assert method_name(name) == name


def test_a_result_says_how_far_the_training_came():
    training = training_record(run_record())
    assert (training.steps_done, training.steps_stated, training.fraction, training.hours) == (50, 200, 0.25, 0.5)
    assert (training.recipe, training.preset, training.git_commit) == ("article", "compact", "c" * 40)


@pytest.mark.parametrize(
    ("config", "mode"),
    [
        ({"map_mode": "exact"}, "exact"),
        ({"recipe": {"name": "code", "map_mode": "paper"}}, "paper"),
        ({"recipe": "code"}, None),
        ({"map_mode": 3}, None),
    ],
)
def test_the_map_mode_is_found_where_entries_put_it(config, mode):
    assert run_record(config=config).map_mode == mode


def test_a_release_is_named_by_its_hash_and_a_stream_has_none():
    for kind, content in (("release", None), ("stream", "b" * 64)):
        source = {"kind": kind, "name": "paper", "spec_sha256": "d" * 64, "content_sha256": content}
        with pytest.raises(ValueError, match="must be null for 'stream'"):
            RunRecord.model_validate(run_record().model_dump() | {"source": source})
