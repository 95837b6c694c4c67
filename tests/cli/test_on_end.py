"""What a user's command or address is told when a run ends."""

import http.server
import json
import subprocess
import threading
import time

import pytest

from deeprl.cli.exits import guarded
from deeprl.cli.on_end import tell
from deeprl.errors import FAILED, FINISHED, STOPPED, WRONG, ConfigError
from deeprl.running.runs.folder import RunFolder
from deeprl.system import terminal
from tests.tools.report.folders import write_run

WRITE = 'printf "%s %s %s %s|%s" "$DEEPRL_STATE" "$DEEPRL_CODE" "$DEEPRL_STEP" "$DEEPRL_RETURN" "$DEEPRL_TEXT" > told'


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DEEPRL_ON_END", WRITE)
    write_run(tmp_path / "run", [1, 2.5])
    return tmp_path


@pytest.mark.parametrize(
    ("code", "said"), [(FINISHED, "finished 0 200 2.5"), (STOPPED, f"stopped {STOPPED} 200 "), (FAILED, "failed 1 200 ")]
)
def test_a_command_finds_state_step_and_return(folder, code, said):
    tell(folder / "run", code)
    facts, text = (folder / "told").read_text().split("|")
    assert facts == said
    assert text.startswith(f"deeprl: {folder / 'run'} {said.split()[0]} at step 200")


def test_an_address_gets_json(folder, monkeypatch):
    got = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        monkeypatch.setenv("DEEPRL_ON_END", f"http://127.0.0.1:{server.server_port}/hook")
        tell(folder / "run", FINISHED)
    assert (got[0]["state"], got[0]["step"], got[0]["return"]) == ("finished", "200", "2.5")


@pytest.mark.parametrize("target", ["exit 7", "false secret", "http://127.0.0.1:1/", "http://host:abc/", "http://host/x y?token=secret"])
def test_what_fails_is_one_line_without_its_text_and_changes_no_exit_code(folder, monkeypatch, capfd, target):
    monkeypatch.setenv("DEEPRL_ON_END", target)
    assert guarded(lambda: FINISHED, folder / "run") == FINISHED
    said = capfd.readouterr().err
    assert "DEEPRL_ON_END" in said
    assert "secret" not in said


def test_nobody_is_told_of_a_wrong_command_of_another_rank_or_of_no_run(folder, monkeypatch):
    def wrong():
        raise ConfigError("agent=nonsense")

    assert guarded(wrong, folder / "run") == WRONG
    assert guarded(lambda: FINISHED) == FINISHED
    monkeypatch.setattr(terminal, "rank", 1)
    tell(folder / "run", FINISHED)
    assert not (folder / "told").exists()


@pytest.mark.parametrize("summary", ["3", '{"final": [1]}', '{"final": {"mean": null}}'])
def test_a_damaged_summary_has_no_return(folder, summary):
    (folder / "run" / "summary.json").write_text(summary)
    tell(folder / "run", FINISHED)
    assert (folder / "told").read_text().startswith("finished 0 200 |")


def test_a_command_that_takes_too_long_is_ended_with_what_it_has_started(folder, monkeypatch, capfd):
    monkeypatch.setattr("deeprl.cli.on_end.SECONDS", 0.2)
    monkeypatch.setenv("DEEPRL_ON_END", "sleep 3.25; true")
    tell(folder / "run", FINISHED)
    assert "took longer" in capfd.readouterr().err
    time.sleep(0.05)
    assert "sleep 3.25" not in subprocess.run(["ps", "-eo", "stat,args"], capture_output=True, text=True, check=True).stdout


def test_who_was_turned_away_from_a_run_that_trains_tells_nothing(folder):
    held = RunFolder(folder / "run")
    held.acquire()
    try:
        tell(folder / "run", FAILED)
    finally:
        held.release()
    assert not (folder / "told").exists()


def test_a_run_whose_folder_is_gone_is_told_too(folder):
    tell(folder / "moved", FAILED)
    assert (folder / "told").read_text().startswith("failed 1")
