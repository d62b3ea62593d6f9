"""What a run did, for people: figures and tables.

    figures.py   every figure, by name; drawn in overlay, pictures (slices) and charts (numbers) on canvas;
                 of classifiers in examples (images) and classes (numbers)
    tables.py    markdown tables; the label of a protocol that leaks
    runs.py      run directories side by side
    run_report.py  which figures a run leaves in its directory

and what the pipeline found in one scan:

    html.py      the report, one file; its parts in html_*, slices in hanging and svg, 3D in surface, text in markup
    localized.py   the lesions outlined, one PNG
    measurements.py  numbers as JSON and CSV

Import the module that you need, `from brainjax.report import figures`.
"""
