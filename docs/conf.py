# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Sphinx's settings for the documentation site. `./dev docs-site` builds it."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

from docutils import nodes
from sphinx.errors import ExtensionError

ROOT = Path(__file__).resolve().parent.parent
REPOSITORY = "https://github.com/pygun/stack"
GUIDES = "docs/docsite/rst"

project = "pygun.stack"
author = copyright = "the pygun.stack authors"
extensions = ["sphinx_antsibull_ext"]
highlight_language = "text"
default_role = "any"
# A link that leads nowhere is an error of the build.
nitpicky = True

# The theme of Ansible's own documentation.
html_theme = "sphinx_ansible_theme"
html_title = html_short_title = "pygun.stack"
html_theme_options = {
    "topbar_links": {"Source": REPOSITORY, "Ansible": "https://docs.ansible.com/"},
    "navigation_depth": 2,
}
html_static_path = ["site.css"]
html_css_files = ["site.css"]
html_show_sphinx = False
html_copy_source = False

# What the pages name of Ansible's own documentation. An inventory of it would have to be downloaded for each build.
ANSIBLE = "https://docs.ansible.com/projects/ansible/latest/"
ANSIBLE_PAGES = {
    "action_plugins": "plugins/action.html",
    "ansible_configuration_settings": "reference_appendices/config.html",
    "common_return_values": "reference_appendices/common_return_values.html",
}


def page_of_ansible(label: str) -> str | None:
    """The address of what a label of Ansible's documentation names, or None."""
    plugin = re.match(r"ansible_collections\.ansible\.builtin\.([a-z_]+_[a-z]+)(?:__|$)", label)
    page = f"collections/ansible/builtin/{plugin[1]}.html" if plugin else ANSIBLE_PAGES.get(label)
    return page and ANSIBLE + page


def link_to_ansible(_app, _env, node, content):
    """Called for each link whose label no page of ours has."""
    page = page_of_ansible(node.get("reftarget", ""))
    return nodes.reference("", "", content, internal=False, refuri=page) if page else None


def page_of_file(target: str) -> str:
    """The address, from a guide, of a file of the repository that a guide names by a path relative to itself, as GitHub wants it."""
    name, _sign, anchor = target.partition("#")
    path = posixpath.normpath(f"{GUIDES}/{name}")
    if not (ROOT / path).exists():
        raise ExtensionError(f"A guide links to {path}, and there is no such file.")
    role = re.fullmatch(r"roles/(\w+)/README\.md", path)
    if path.startswith(f"{GUIDES}/"):
        page = name.removesuffix(".rst") + ".html"
    elif role:
        page = f"../{role[1]}_role.html"
    else:
        page = f"{REPOSITORY}/blob/main/{path}"
    return f"{page}#{anchor}" if anchor else page


def link_to_files(app, doctree):
    """Called for each page that was read."""
    if app.env.docname.startswith("docsite/"):
        for node in doctree.findall(nodes.reference):
            target = node.get("refuri", "")
            if re.match(r"[\w./-]+\.(rst|md)(#|$)", target):
                node["refuri"] = page_of_file(target)


def name_first_page(_app, _name, _template, context, _doctree):
    """Called for each page that is written: the theme's own default leads away from the site."""
    context["theme_documentation_home_url"] = context["pathto"](context["root_doc"])


def setup(app):
    app.connect("missing-reference", link_to_ansible)
    app.connect("doctree-read", link_to_files)
    app.connect("html-page-context", name_first_page)
