"""Settings, retries, spans, lines of progress."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgemodel_compressor.errors import TaskError
from edgemodel_compressor.job.run import line_reporter
from edgemodel_compressor.job.termination_message import failure_code
from edgemodel_compressor.progress import Span
from edgemodel_compressor.retry import RetryPolicy, with_retries
from edgemodel_compressor.settings import Settings
from edgemodel_contract.progress import Progress, last_progress
from edgemodel_contract.settings import SettingsError, read_settings

WEIGHTS = st.lists(st.floats(0.01, 100), min_size=1, max_size=6)


class TestSettings:
    def test_every_setting_can_come_from_the_environment(self) -> None:
        settings = read_settings(
            Settings,
            {
                "EDGEMODEL_MAX_DOWNLOAD": "8Mi",
                "EDGEMODEL_FETCH_TIMEOUT": "2m",
                "EDGEMODEL_RETRY_ATTEMPTS": "7",
                "EDGEMODEL_WORK_DIR": "/scratch",
                "UNRELATED": "1",
            },
        )
        assert (settings.max_download, settings.fetch_timeout) == (8 * 2**20, 120.0)
        assert (settings.retry.attempts, settings.work_dir) == (7, Path("/scratch"))

    def test_without_environment_they_are_the_defaults(self) -> None:
        assert read_settings(Settings, {"EDGEMODEL_MAX_DOWNLOAD": ""}) == Settings()

    @pytest.mark.parametrize(("name", "value"), [("FETCH_TIMEOUT", "10"), ("RETRY_ATTEMPTS", "many")])
    def test_what_cannot_be_read_is_named(self, name: str, value: str) -> None:
        with pytest.raises(SettingsError, match=f"EDGEMODEL_{name}"):
            read_settings(Settings, {f"EDGEMODEL_{name}": value})


class TestRetries:
    def attempt(self, outcomes: list[Exception | str]) -> tuple[object, list[float]]:
        pauses: list[float] = []

        def work() -> str:
            outcome = outcomes.pop(0)
            if isinstance(outcome, Exception):
                raise outcome
            return outcome

        return with_retries(work, RetryPolicy(attempts=4, delay=1, max_delay=3), pauses.append), pauses

    def passing(self) -> TaskError:
        return TaskError("SourceUnavailable", "busy", transient=True)

    def test_pauses_grow_up_to_a_bound(self) -> None:
        assert self.attempt([self.passing(), self.passing(), self.passing(), "ok"]) == ("ok", [1, 2, 3])

    def test_the_last_attempts_error_is_the_answer(self) -> None:
        with pytest.raises(TaskError, match="busy"):
            self.attempt([*[self.passing()] * 4, "never"])

    @pytest.mark.parametrize("error", [TaskError("SourceNotFound", "gone"), ValueError("gone")])
    def test_what_does_not_pass_is_not_tried_again(self, error: Exception) -> None:
        with pytest.raises(type(error), match="gone"):
            self.attempt([error, "never"])


class TestProgress:
    @given(
        st.lists(st.floats(0.01, 100), min_size=1, max_size=6), st.lists(st.floats(0.01, 100), min_size=1, max_size=6)
    )
    def test_parts_follow_one_another_and_fill_the_whole(self, outer: list[float], inner: list[float]) -> None:
        seen: list[float] = []
        for part in Span(lambda progress: seen.append(progress.fraction)).split(*outer):
            for piece in part.split(*inner):
                piece.report("Fetching", "x", 0.0)
                piece.report("Fetching", "x", 1.0)
        assert seen == sorted(seen)
        assert (seen[0], seen[-1]) == (0.0, 1.0)

    def test_lines_are_readable_by_the_operator_and_no_flood(self, capsys: pytest.CaptureFixture[str]) -> None:
        emit = line_reporter()
        for index in range(1000):
            emit(Progress(step="Evaluating", message="evaluating a", fraction=index / 1000))
        emit(Progress(step="Pushing", message="pushing", fraction=1.0))
        log = capsys.readouterr().out
        assert len(log.splitlines()) < 10
        assert last_progress(log) == Progress(step="Pushing", message="pushing", fraction=1.0)


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        ("SourceUnavailable", 1),
        ("InternalError", 1),
        ("InvalidModel", 2),
        ("BaseImageInvalid", 2),
        ("ObjectivesNotMet", 3),
    ],
)
def test_exit_codes_say_whether_trying_again_may_help(reason: str, code: int) -> None:
    assert failure_code(reason) == code  # type: ignore[arg-type]
