"""Files that appear whole or not at all, whoever else writes them."""

from brainjax.files import replacing


def test_two_writers_of_one_file_do_not_write_into_each_other(tmp_path):
    path = tmp_path / "result.json"
    with replacing(path) as first:
        first.write_text("a" * 9)
        with replacing(
            path
        ) as second:  # as on another machine, where a process may have our number
            second.write_text("b" * 9)
        assert path.read_text() == "b" * 9
    assert path.read_text() == "a" * 9
    assert [p.name for p in tmp_path.iterdir()] == ["result.json"]
