"""What `leaderboard check` claims, and no more."""


def test_a_result_is_called_what_its_predictions_give_only_where_they_are_given(qpibench, result, predictions, mini):
    alone = qpibench("leaderboard", "check", result)
    assert (alone.exit_code, alone.stdout) == (0, f"{result} is consistent, but not re-derived.\n")
    derived = qpibench("leaderboard", "check", result, "--predictions", predictions, "--release", mini)
    assert (derived.exit_code, derived.stdout) == (0, f"{result} is what its predictions give.\n")
