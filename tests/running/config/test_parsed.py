"""Files of configurations are parsed once, to what OmegaConf makes of them."""

import os

import pytest
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from deeprl.running.config.parsed import parsed

SCALARS = """# größer
ints: [1, -2, 1_000, 0x1F, 010, 0b11, 1:30]
floats: [1.0, 1e3, 1.5e-4, -1E5, .5, .inf, 1_0.5]
words: [yes, No, on, null, ~, '', "1e3", 2020-01-01, 2020-01-01 10:00:00, '???', '${steps}', 3.1.4, e3, 1e, "\\u00e9"]
nested: {a: {b: &anchor [1, {c: 2}]}, d: *anchor, true: 1, 3: 4}
text: |
  two
  lines
"""


@pytest.mark.parametrize("text", [SCALARS, "", "# nothing\n", "- a\n- 1e3\n", "word\n", "a: 1\n...\n"])
def test_content_is_what_omegaconf_loads(tmp_path, text):
    path = tmp_path / "one.yaml"
    path.write_text(text)
    assert parsed(path).content == OmegaConf.to_container(OmegaConf.load(path), resolve=False)


@pytest.mark.parametrize(
    "text", ["a: 1\nb: 2\na: 3\n", "a: [1, 2\n", "a: {b: 1\n", "a: b: c\n", "\tb: 1\n", "a: !!python/name:os.system x\n"]
)
def test_a_file_is_refused_in_the_words_of_omegaconf(tmp_path, text):
    path = tmp_path / "one.yaml"
    path.write_text(text)
    with pytest.raises((YAMLError, OmegaConfBaseException)) as expected:
        OmegaConf.load(path)
    with pytest.raises(type(expected.value)) as found:
        parsed(path)
    assert str(found.value) == str(expected.value)


def test_a_changed_file_is_parsed_anew(tmp_path):
    path = tmp_path / "one.yaml"
    path.write_text("a: 1\n")
    assert parsed(path) is parsed(path)
    path.write_text("a: 2\n")  # as long as before
    os.utime(path, ns=(1, 1))
    assert parsed(path).content == {"a": 2}
    (tmp_path / "other.yaml").write_text("a: 3\n")
    os.utime(tmp_path / "other.yaml", ns=(1, 1))
    os.replace(tmp_path / "other.yaml", path)
    assert parsed(path).content == {"a": 3}
