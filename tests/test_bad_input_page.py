from tests.bad_input import PAGE, page, tables


def test_the_page_on_bad_input_shows_what_the_tests_expect() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "python -m tests.bad_input writes it"
    assert sum(map(len, tables().values())) > 150
