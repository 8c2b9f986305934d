# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Sphinx's settings for the documentation site. `./dev docs-site` builds it."""

from __future__ import annotations

import re

from docutils import nodes

project = "pygun.stack"
author = "the pygun.stack authors"
extensions = ["sphinx_antsibull_ext"]
highlight_language = "text"
default_role = "any"
# A link that leads nowhere is an error of the build.
nitpicky = True

# Sphinx brings this theme along.
html_theme = "alabaster"
html_theme_options = {
    "description": "Flask services on Debian, without losing a request",
    "page_width": "1200px",
    "sidebar_width": "260px",
    "fixed_sidebar": True,
}
html_sidebars = {"**": ["about.html", "searchfield.html", "localtoc.html"]}
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


def setup(app):
    app.connect("missing-reference", link_to_ansible)
