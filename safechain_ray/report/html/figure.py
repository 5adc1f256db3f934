"""A plot on the page: its title and caption, the buttons that save it, the drawing."""

from safechain_ray.report.html.markup import Markup, element
from safechain_ray.report.html.plot import Plot


def figure(plot: Plot) -> Markup:
    """`plot` as the page shows it; the page's script finds its buttons by their `data-save`."""
    save = [
        element(
            "button", kind.upper(), type="button", data_save=kind, aria_label=f"Save {plot.title} as {kind.upper()}"
        )
        for kind in ("svg", "png")
    ]
    caption = element(
        "figcaption",
        element("h3", plot.title),
        element("p", plot.caption),
        element("div", save, class_="save"),
    )
    drawing = element("div", plot.svg, class_="drawing", tabindex=0, role="region", aria_label=plot.title)
    return element("figure", caption, drawing, id=f"plot-{plot.key}", data_name=plot.key)
