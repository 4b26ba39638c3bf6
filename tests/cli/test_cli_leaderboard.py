"""`leaderboard check` reports exactly the checks that it made."""


def test_a_result_is_called_what_its_predictions_give_only_where_they_are_given(qpibench, result, predictions, mini):
    alone = qpibench("leaderboard", "check", result)
    assert (alone.exit_code, alone.stdout) == (0, f"{result} is consistent, but not re-derived.\n")
    derived = qpibench("leaderboard", "check", result, "--predictions", predictions, "--release", mini)
    assert (derived.exit_code, derived.stdout) == (0, f"{result} is what its predictions give.\n")


def test_the_predictions_of_a_second_run_prove_the_result_of_the_first(qpibench, result, mini, tmp_path):
    again = tmp_path / "again.h5"
    assert qpibench("predict", "zeros", "--release", mini, "--limit", 4, "--batch-size", 3, "-o", again).exit_code == 0
    checked = qpibench("leaderboard", "check", result, "--predictions", again, "--release", mini)
    assert (checked.exit_code, checked.stdout) == (0, f"{result} is what its predictions give.\n")
