"""Each role's README.md, and the table of variables in README.md, from the roles' meta/argument_specs.yml."""

from __future__ import annotations

import json
import re
from pathlib import Path

import yaml

ROLES = Path(__file__).resolve().parent.parent / "roles"

# Of what a host has one: set for an entry under `roles:`, it would not reach the others that run the same role.
HOST_VARIABLES = {
    "python": """
python_index_url: https://packages.example.com/simple
python_ca_bundle: /etc/ssl/certs/ca-certificates.crt
""",
    "supervisor": """
supervisor_http_enabled: true
supervisor_http_user: ops
supervisor_http_password: "{{ vault_supervisor_password }}"
supervisor_programs:
  - name: exporter # a Go binary
    command: /usr/local/bin/exporter --listen 127.0.0.1:9200
    user: nobody
    autorestart: true
  - name: mailer # two processes of a queue worker: mailer-0 and mailer-1
    command: /opt/mailer/bin/python -m mailer
    user: mailer
    numprocs: 2
    stopwaitsecs: 60
    environment:
      QUEUE_TOKEN: "{{ vault_queue_token }}"
supervisor_listeners:
  - name: crashmail # superlance's: mail when a program ends unexpectedly, sent by msmtp, which needs no privileges
    command: >-
      /opt/pygun/supervisor/bin/crashmail -a -m ops@example.com
      -s "/usr/bin/msmtp -t --host=mail.example.com --from=supervisor@example.com"
    user: nobody
    events:
      - PROCESS_STATE_EXITED
""",
}

EXAMPLES = {
    "python": """
- hosts: api
  become: true
  roles:
    - role: pygun.stack.python
""",
    "supervisor": """
- hosts: api
  become: true
  roles:
    - role: pygun.stack.supervisor
""",
    "load_balancer": """
- hosts: balancers
  become: true
  roles:
    - role: pygun.stack.load_balancer
      vars:
        load_balancer_certificates: [files/api.example.com.pem]
        load_balancer_services:
          - name: scoring
            bind: 0.0.0.0:443
            redirect_bind: 0.0.0.0:80
            certificates: [/etc/haproxy/certs/api.example.com.pem]
            group: api
            health_path: /healthz
""",
    "flask_app": """
- hosts: api
  become: true
  roles:
    - role: pygun.stack.flask_app
      vars:
        flask_app_name: scoring
        flask_app_src: "{{ playbook_dir }}/../app/"
        flask_app_wsgi: wsgi:app
        flask_app_bind: 127.0.0.1:5000
        flask_app_health_path: /healthz
""",
}

# What a first play sets.
MOST_USED = (
    "flask_app_name", "flask_app_src", "flask_app_git_repo", "flask_app_packages", "flask_app_requirements", "flask_app_wsgi",
    "flask_app_bind", "flask_app_health_path", "flask_app_env", "flask_app_instances", "flask_app_workers",
    "python_index_url", "supervisor_http_enabled",
)  # fmt: skip
TABLE = re.compile(r"(<!-- Written by `make docs` from the argument specs. -->\n).*?(<!-- To here. -->)", re.DOTALL)


def specification(role: str) -> dict:
    """What a role says of itself."""
    return yaml.safe_load((ROLES / role / "meta" / "argument_specs.yml").read_text())["argument_specs"]["main"]


def with_table(readme: str) -> str:
    """The text of README.md with today's table in it."""
    options = {name: option for role in roles() for name, option in specification(role).get("options", {}).items()}
    rows = ["| variable | default | |", "|---|---|---|"]
    for name in MOST_USED:
        option = options[name]
        default = "**required**" if option.get("required") else f"`{shown(option['default'])}`"
        meaning, *more = re.split(r"(?<=\.)\s", text_of(option))
        if more and more[0].startswith(default):
            meaning += f" {more[0]}"
        choices = " or ".join(f"`{choice}`" for choice in option.get("choices", []))
        rows.append(f"| `{name}` | {default} | {meaning.rstrip('.')}{choices and f': {choices}'} |")
    return TABLE.sub(lambda found: "\n".join([found[1], *rows, "", found[2]]), readme)


def render(role: str) -> str:
    """The text of a role's README."""
    spec = specification(role)
    paragraphs = spec["description"] if isinstance(spec["description"], list) else [spec["description"]]
    lines = [
        "<!-- Written by `make docs` from meta/argument_specs.yml: change that file. -->",
        f"# pygun.stack.{role}",
        "",
        f"**{markdown(spec['short_description'])}.**",
        "",
    ]
    for paragraph in paragraphs:
        lines += [markdown(paragraph), ""]
    lines += ["## Example", ""]
    if role in HOST_VARIABLES:
        lines += [
            "In `group_vars/api.yml`, since these variables belong to the host, not to an entry under `roles:`:", "",
            "```yaml", HOST_VARIABLES[role].strip(), "```", "",
            "And the play:", "",
        ]  # fmt: skip
    lines += ["```yaml", EXAMPLES[role].strip(), "```", "", "## Variables", ""]
    options = spec.get("options", {})
    for group in (True, False):
        for name, option in options.items():
            if bool(option.get("required")) == group:
                lines += variable(name, option)
    return "\n".join(lines).rstrip() + "\n"


def variable(name: str, option: dict) -> list[str]:
    """One variable: name, type and default on a line, its meaning under it."""
    return [f"**`{name}`** ({facts_of(option)})  ", text_of(option), "", *settings(option.get("options", {}))]


def settings(options: dict) -> list[str]:
    """The settings of each entry of a list, one on a line."""
    lines = [f"- `{name}` ({facts_of(option)}): {text_of(option)}" for name, option in options.items()]
    return [*lines, ""] if lines else []


def facts_of(option: dict) -> str:
    """Its type, its default and what else is worth knowing before its meaning."""
    elements = {"dict": "dictionaries"}.get(option.get("elements", ""), option.get("elements"))
    facts = [option.get("type", "str") + (f" of {elements}" if elements else "")]
    if option.get("choices"):
        facts.append("one of " + ", ".join(f"`{choice}`" for choice in option["choices"]))
    if option.get("required"):
        facts.append("**required**")
    elif "default" in option:
        facts.append(f"default `{shown(option['default'])}`")
    if option.get("no_log"):
        facts.append("secret")
    return ", ".join(facts)


def text_of(option: dict) -> str:
    """Its meaning, in Markdown."""
    description = option["description"]
    return markdown(" ".join(description) if isinstance(description, list) else description)


def shown(default: object) -> str:
    """A default as one writes it in YAML."""
    if isinstance(default, str):
        return default or '""'
    return json.dumps(default)


def markdown(text: str) -> str:
    """Ansible's markup in Markdown's."""
    text = " ".join(text.split())
    text = re.sub(r"\b[COV]\(([^)]*)\)", r"`\1`", text)
    text = re.sub(r"\bI\(([^)]*)\)", r"*\1*", text)
    text = re.sub(r"\bB\(([^)]*)\)", r"**\1**", text)
    return re.sub(r"\bU\(([^)]*)\)", r"<\1>", text)


def roles() -> list[str]:
    """Names of the roles that have an argument spec."""
    return sorted(spec.parent.parent.name for spec in ROLES.glob("*/meta/argument_specs.yml"))
