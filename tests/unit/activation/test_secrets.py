# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What of an environment file the words of an app are not shown with."""

from __future__ import annotations

import pytest

from ansible_collections.pygun.stack.plugins.module_utils.activation.masking import secrets_in


@pytest.mark.parametrize(
    ("line", "secrets"),
    [
        ('SMTP_PASS="hunter22"', ["hunter22"]),
        ('MYSQL_PWD="a \\"quoted\\" \\\\ one"', ['a "quoted" \\ one']),
        (
            'DATABASE_URL="postgresql://me:p%40ssword@db/x"',
            ["postgresql://me:p%40ssword@db/x", "p%40ssword", "p@ssword"],
        ),
        ('BROKER="redis://:tr0ub4dor@cache/0"', ["tr0ub4dor"]),
        ('API_TOKEN="short"', []),
        ('SIGNING_KEY="line one\\nline 2"', ["line one\\nline 2", "line one", "line 2"]),
        ('TOKEN_FILE="/run/secrets/token"', []),
        ('GREETING="hello world"', []),
    ],
)
def test_secrets_by_their_names_and_passwords_in_addresses(line, secrets):
    assert secrets_in(f'COLOUR="green"\n{line}\n') == secrets
