"""The pages of a study, as HTML: texts of the researcher as Markdown without HTML, all else escaped."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markdown_it import MarkdownIt
from markupsafe import Markup

from hf_alignet.collect.study_settings import StudyTexts

WEB = Path(__file__).parent / "web"
ASSETS = {"app.js": "text/javascript", "style.css": "text/css"}
# Nothing from anywhere else, and no script but ours. `data:` is the empty icon
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'{more}; "
    "form-action 'self'; base-uri 'none'{frames}"
)


@dataclass(frozen=True)
class Pages:
    """The pages of a study with these texts."""

    texts: StudyTexts

    def consent(self, identifiers: Mapping[str, str]) -> str:
        """The first page, with a form that sends the platform's identifiers on."""
        return self._render("consent", consent=_html(self.texts.consent), identifiers=identifiers)

    def session(self) -> str:
        """Instructions, practice and trials."""
        return self._render("session", instructions=_html(self.texts.instructions))

    def done(self) -> str:
        """The last page, with the completion code."""
        return self._render("done", debriefing=_html(self.texts.debriefing))

    def message(self, message: str) -> str:
        """One sentence."""
        return self._render("message", message=message)

    def static(self, post: str) -> str:
        """All in one page for a folder without a server; `post` is the address for results, or empty."""
        origin = f" {'/'.join(post.split('/')[:3])}" if post else ""
        texts = {"consent": self.texts.consent, "instructions": self.texts.instructions}
        texts["debriefing"] = self.texts.debriefing
        parts = {name: _html(text) for name, text in texts.items()}
        return self._render("static", policy=POLICY.format(more=origin, frames=""), post=post, **parts)

    def _render(self, name: str, **facts: Any) -> str:
        environment = Environment(
            loader=FileSystemLoader(WEB),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            autoescape=True,
        )
        return environment.get_template(f"{name}.html.jinja").render(texts=self.texts, **facts).strip() + "\n"


def _html(markdown: str) -> Markup:
    """HTML of Markdown. HTML in it stays text, and links lead to the web or to an e-mail address only."""
    return Markup(MarkdownIt("commonmark", {"html": False}).enable("table").render(markdown))
