"""What `make run` says about a machine that is not fit, and what it keeps to itself."""

from __future__ import annotations

import importlib.util
import os
import socket
import stat
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parent.parent / "scripts/bootstrap.py"


@pytest.fixture(scope="session")
def bootstrap():
    """A script is no module of ours: it is read from its file."""
    spec = importlib.util.spec_from_file_location("bootstrap", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules["bootstrap"] = module
    spec.loader.exec_module(module)
    return module


def sentence(caught) -> str:
    """The message: one line for people, that ends with what to do."""
    text = str(caught.value)
    assert "\n" not in text
    assert text.endswith(".")
    return text


class TestMachine:
    def test_old_python_is_named_with_the_one_to_install(self, bootstrap):
        with pytest.raises(bootstrap.CannotGoOn) as caught:
            bootstrap.require_python((3, 9, 2))
        assert "3.9.2 is too old: install Python 3.11" in sentence(caught)

    def test_port_in_use_names_the_next_one(self, bootstrap):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            with pytest.raises(bootstrap.CannotGoOn) as caught:
                bootstrap.require_port(str(port))
        assert f"Port {port} is in use already" in sentence(caught)
        assert f"make run PORT={port + 1}" in str(caught.value)

    @pytest.mark.parametrize("port", ["eighty", "0", "65536", "-1", "", "8 0", "²"])
    def test_no_port_at_all(self, bootstrap, port):
        with pytest.raises(bootstrap.CannotGoOn, match="is no port"):
            bootstrap.require_port(port)

    def test_free_port_is_fine(self, bootstrap):
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        bootstrap.require_port(str(port))

    def test_full_disk_says_how_much_is_needed(self, bootstrap, tmp_path):
        with pytest.raises(bootstrap.CannotGoOn) as caught:
            bootstrap.require_disk(tmp_path / "not" / "there" / "yet", 10**18)
        assert "1000000000.0 GB are needed" in sentence(caught)
        assert str(tmp_path) in str(caught.value)

    def test_processor_without_avx2(self, bootstrap, tmp_path):
        cpuinfo = tmp_path / "cpuinfo"
        cpuinfo.write_text("processor : 0\nflags : fpu avx sse\n")
        with pytest.raises(bootstrap.CannotGoOn) as caught:
            bootstrap.require_model_machine({"OLLAMA_URL": "http://127.0.0.1:9"}, cpuinfo)
        assert "lacks AVX2" in sentence(caught)
        assert "OLLAMA_URL" in str(caught.value)

    @pytest.mark.parametrize("text", ["flags : fpu avx avx2\n", "Features : fp asimd\n", None])
    def test_processor_that_will_do(self, bootstrap, tmp_path, text):
        cpuinfo = tmp_path / "cpuinfo"
        if text:
            cpuinfo.write_text(text)
        bootstrap.require_model_machine({"OLLAMA_URL": "http://127.0.0.1:9"}, cpuinfo)

    def test_processor_without_avx2_will_do_where_ollama_answers(self, bootstrap, tmp_path, ollama):
        cpuinfo = tmp_path / "cpuinfo"
        cpuinfo.write_text("flags : fpu\n")
        bootstrap.require_model_machine({"OLLAMA_URL": ollama.base_url}, cpuinfo)

    def test_debian_without_the_venv_package(self, bootstrap, monkeypatch):
        monkeypatch.setitem(sys.modules, "ensurepip", None)
        with pytest.raises(bootstrap.CannotGoOn) as caught:
            bootstrap.require_ensurepip()
        assert "apt install python3-venv" in sentence(caught)


class TestInstallation:
    @pytest.fixture
    def installation(self, bootstrap, tmp_path):
        return bootstrap.Installation(tmp_path / "venv", tmp_path / "log/install.log")

    def test_unreachable_index_is_one_sentence_and_a_log(
        self, bootstrap, installation, tmp_path, monkeypatch
    ):
        monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
        for name in ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/")
        monkeypatch.setattr(bootstrap.Installation, "PATIENCE", ("--retries", "0", "--timeout", "1"))
        installation.venv.mkdir()
        installation.python = Path(sys.executable)
        monkeypatch.setattr(installation, "_make_venv", lambda: None)
        # Into a folder of its own: should the index answer after all, nothing here changes.
        monkeypatch.setenv("PIP_TARGET", str(tmp_path / "packages"))
        with pytest.raises(bootstrap.CannotGoOn) as caught:
            installation.bring_up_to_date("run")
        assert "The package index cannot be reached" in sentence(caught)
        assert str(installation.log) in str(caught.value)
        assert "127.0.0.1" in installation.log.read_text()
        assert installation.missing("run") == list(bootstrap.LOCKS["run"])

    @pytest.mark.parametrize(
        ("log", "said"),
        [
            ("OSError: [Errno 28] No space left on device", "The disk is full"),
            ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE ...", "is not the one that was locked"),
            ("Temporary failure in name resolution", "cannot be reached"),
            ("Segmentation fault", "It broke"),
        ],
    )
    def test_reason_is_found_in_the_log(self, bootstrap, tmp_path, log, said):
        text = bootstrap.why_failed(log, "It broke", tmp_path / "install.log")
        assert said in text
        assert str(tmp_path / "install.log") in text
        assert "\n" not in text

    def test_changed_lock_is_installed_again(self, bootstrap, installation, monkeypatch):
        asked = []
        monkeypatch.setattr(installation, "_make_venv", lambda: self._fake_venv(installation))
        monkeypatch.setattr(installation, "_install", lambda lock, extra: asked.append((lock, extra)))
        installation.bring_up_to_date("run")
        assert [lock for lock, _ in asked] == ["runtime.txt", "assets.txt", "embedded.txt"]
        assert asked[1][1] == asked[2][1] == ["--no-deps"]
        assert installation.missing("run") == []
        assert installation.missing("dev") == ["dev.txt"]
        key = installation._key
        monkeypatch.setattr(
            installation, "_key", lambda lock: "changed" if lock == "assets.txt" else key(lock)
        )
        assert installation.missing("run") == ["assets.txt"]

    def test_interrupted_installation_counts_for_nothing(self, bootstrap, installation, monkeypatch):
        monkeypatch.setattr(installation, "_make_venv", lambda: self._fake_venv(installation))

        def interrupted(lock, extra):
            if lock == "assets.txt":
                raise KeyboardInterrupt

        monkeypatch.setattr(installation, "_install", interrupted)
        with pytest.raises(KeyboardInterrupt):
            installation.bring_up_to_date("run")
        assert installation.missing("run") == list(bootstrap.LOCKS["run"])
        assert not installation._usable()

    @staticmethod
    def _fake_venv(installation):
        installation.python.parent.mkdir(parents=True, exist_ok=True)
        installation.python.touch()


class TestSecrets:
    def test_made_once_and_for_this_user_only(self, bootstrap, tmp_path):
        file = tmp_path / "var" / "secrets.env"
        first = bootstrap.with_secrets({}, file)
        assert set(first) == {"SECRET_KEY", "JWT_SIGNING_KEY", "FIELD_ENCRYPTION_KEYS"}
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert bootstrap.with_secrets({}, file) == first
        assert list(file.parent.iterdir()) == [file]

    def test_what_the_operator_set_stays(self, bootstrap, tmp_path):
        given = {"SECRET_KEY": "mine", "JWT_SIGNING_KEY_FILE": "/run/secrets/jwt"}
        env = bootstrap.with_secrets(given, tmp_path / "secrets.env")
        assert env["SECRET_KEY"] == "mine"
        assert "JWT_SIGNING_KEY" not in env
        assert env["FIELD_ENCRYPTION_KEYS"]

    def test_empty_lines_of_the_example_are_filled_in(self, bootstrap, tmp_path):
        env = bootstrap.with_secrets({"SECRET_KEY": ""}, tmp_path / "secrets.env")
        assert env["SECRET_KEY"]

    def test_process_beats_dotenv(self, bootstrap, tmp_path):
        dotenv = tmp_path / ".env"
        dotenv.write_text("# a comment\n\nexport PORT=1\nOLLAMA_URL='http://there'\n#DEBUG=1\n")
        env = bootstrap.environment({"PORT": "2"}, dotenv)
        assert env == {"PORT": "2", "OLLAMA_URL": "http://there"}
