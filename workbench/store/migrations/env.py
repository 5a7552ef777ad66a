"""What Alembic runs. The connection, with its open transaction, comes from workbench.store.upgrade."""

from alembic import context

from workbench.store import review_tables  # noqa: F401  # its tables belong to the same metadata
from workbench.store.tables import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,  # SQLite cannot change a column in place
)
context.run_migrations()
