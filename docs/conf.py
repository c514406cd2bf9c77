"""How Sphinx builds the documentation (`make docs`). The pages are plain Markdown and can be read without it."""

from pathlib import Path
from typing import Any

from docutils import nodes
from pydantic import BaseModel
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx

from bert_textclassification import __version__

project = "bert-textclassification"
author = "The bert-textclassification maintainers"
release = version = __version__
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme = "furo"
html_title = f"bert-textclassification {__version__}"
html_show_sourcelink = False
html_copy_source = False
highlight_language = "text"

myst_heading_anchors = 3  # the addresses of headings are those that GitHub gives
nb_execution_mode = "off"  # tools/docs_site.py copies the notebooks of a run with their outputs
nb_merge_streams = True

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_inherit_docstrings = False
napoleon_use_ivar = True  # the attributes of a class are documented once, in its docstring
default_role = "code"  # docstrings write code in single backquotes

# A build fetches nothing, so types of other packages have no page to link to.
nitpick_ignore_regex = [("py:.*", r"(?!bert_textclassification\.).*")]
nitpick_ignore = [("py:class", "bert_textclassification.training.fine_tuning.distributed.Hosts")]

linkcheck_timeout = 20
linkcheck_retries = 2
linkcheck_exclude_documents = ["notebooks/.*"]


def show_built_notebooks(app: Sphinx, page: str, source: list[str]) -> None:
    """Let links to the notebooks of the repository lead to the pages made of them."""
    source[0] = source[0].replace("](../notebooks/0", "](notebooks/0")


def leave_folders_unlinked(app: Sphinx, page: nodes.document) -> None:
    """Show a link to a folder of the repository as plain text: the site has no page for it."""
    for link in list(page.findall(pending_xref)):
        if link["reftype"] == "myst" and (Path(app.srcdir, link["refdoc"]).parent / link["reftarget"]).is_dir():
            link.replace_self(link.children)


def hide_generated_signature(
    app: Sphinx, what: str, name: str, thing: Any, options: Any, signature: str | None, returns: str | None
) -> tuple[str, None] | None:
    """Leave out the arguments that pydantic gives its classes: their fields are documented."""
    return ("", None) if isinstance(thing, type) and issubclass(thing, BaseModel) else None


def setup(app: Sphinx) -> None:
    """Register the hooks."""
    app.connect("source-read", show_built_notebooks)
    app.connect("doctree-read", leave_folders_unlinked)
    app.connect("autodoc-process-signature", hide_generated_signature)
