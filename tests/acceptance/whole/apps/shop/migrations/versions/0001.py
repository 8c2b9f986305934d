from alembic import op

revision, down_revision = "0001", None


def upgrade():
    op.execute("CREATE TABLE orders (id serial PRIMARY KEY, version text NOT NULL)")
    op.execute("CREATE TABLE shipped (order_id integer NOT NULL, version text NOT NULL)")
    op.execute("CREATE TABLE ticks (version text NOT NULL)")
    op.execute("CREATE TABLE reports (version text NOT NULL)")
