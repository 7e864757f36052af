"""SQLAlchemy 2 over psycopg: reflection, the ORM, bulk inserts, transactions, expressions."""

import datetime as dt
import os
import uuid
from decimal import Decimal

import pytest
import sqlalchemy as sa
from conftest import TLS
from sqlalchemy import exc, orm
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.orm import Mapped, mapped_column

UTC = dt.timezone.utc


class Base(orm.DeclarativeBase):
    pass


class Port(Base):
    __tablename__ = "sa_ports"
    code: Mapped[str] = mapped_column(sa.String(5), primary_key=True)
    country: Mapped[str] = mapped_column(sa.String(2), nullable=False)
    ships: Mapped[list["Ship"]] = orm.relationship(
        primaryjoin="Port.code == foreign(Ship.port_code)", back_populates="port", order_by="Ship.id"
    )


class Ship(Base):
    __tablename__ = "sa_ships"
    __table_args__ = (sa.CheckConstraint("tons >= 0", name="tons_not_negative"),)
    id: Mapped[int] = mapped_column(sa.BigInteger, primary_key=True, autoincrement=False)
    name: Mapped[str] = mapped_column(sa.Text, nullable=False)
    tons: Mapped[int | None]
    price: Mapped[Decimal | None] = mapped_column(sa.Numeric(12, 2))
    built: Mapped[dt.date | None]
    seen: Mapped[dt.datetime | None] = mapped_column(sa.DateTime(timezone=True))
    key: Mapped[uuid.UUID | None]
    details: Mapped[dict | None] = mapped_column(pg.JSONB)
    tags: Mapped[list[str] | None] = mapped_column(pg.ARRAY(sa.Text))
    sails: Mapped[bool] = mapped_column(server_default=sa.true())
    port_code: Mapped[str | None] = mapped_column(sa.String(5))
    port: Mapped[Port | None] = orm.relationship(
        primaryjoin="Port.code == foreign(Ship.port_code)", back_populates="ships"
    )


@pytest.fixture(scope="session")
def engine():
    url = sa.URL.create(
        "postgresql+psycopg",
        username=os.environ["PGUSER"],
        password=os.environ["PGPASSWORD"],
        host=os.environ["PGHOST"],
        port=int(os.environ["PGPORT"]),
        database="evenkeel",
    )
    engine = sa.create_engine(url, connect_args={"sslmode": os.environ["PGSSLMODE"]})
    yield engine
    engine.dispose()


@pytest.fixture(scope="session")
def outside(engine):
    """The same, with every statement a transaction of its own: what changes a schema stands outside of blocks."""
    return engine.execution_options(isolation_level="AUTOCOMMIT")


@pytest.fixture(scope="session")
def tables(outside):
    Base.metadata.create_all(outside)
    return Base.metadata


@pytest.fixture
def session(engine, tables):
    """A session over two ports and four ships."""
    with orm.Session(engine) as session:
        session.execute(sa.delete(Ship))
        session.execute(sa.delete(Port))
        session.add_all([Port(code="BGO", country="NO"), Port(code="TKU", country="FI")])
        session.add_all(
            [
                Ship(id=1, name="Aurora", tons=40, port_code="BGO", price=Decimal("10.50"), built=dt.date(1999, 5, 1)),
                Ship(id=2, name="Brig", tons=25, port_code="BGO"),
                Ship(id=3, name="Cutter", tons=8, port_code="TKU"),
                Ship(id=4, name="Dory"),
            ]
        )
        session.commit()
        yield session


def names(session, query):
    return session.scalars(query).all()


# ---- Connections and schemas.


def test_the_dialect_knows_the_server(engine):
    with engine.connect() as connection:
        assert engine.dialect.server_version_info[0] == 15
        assert engine.dialect.default_schema_name == "public"
        assert connection.connection.dbapi_connection.pgconn.ssl_in_use == TLS
        assert connection.get_isolation_level() == "REPEATABLE READ"


def test_tables_are_made_once(outside, tables):
    Base.metadata.create_all(outside)
    assert sa.inspect(outside).has_table("sa_ships")
    assert not sa.inspect(outside).has_table("sa_nothing")


def test_tables_are_made_and_dropped(outside):
    metadata = sa.MetaData()
    made = sa.Table("sa_made", metadata, sa.Column("id", sa.Integer, primary_key=True, autoincrement=False))
    made.create(outside)
    assert sa.inspect(outside).has_table("sa_made")
    made.drop(outside)
    assert not sa.inspect(outside).has_table("sa_made")


def test_a_schema_change_inside_a_block_is_refused(engine):
    made = sa.Table("sa_inside", sa.MetaData(), sa.Column("id", sa.Integer, primary_key=True, autoincrement=False))
    with pytest.raises(exc.DBAPIError) as raised, engine.begin() as connection:
        connection.execute(sa.text("SELECT 1"))
        made.create(connection)
    assert raised.value.orig.sqlstate == "25001"


# ---- Rows that a session holds.


def test_a_row_is_read_changed_and_written_back(engine, session):
    ship = session.get(Ship, 2, with_for_update=True)
    with orm.Session(engine) as other:
        with pytest.raises(exc.OperationalError) as raised:
            other.get(Ship, 2, with_for_update={"nowait": True})
        assert raised.value.orig.sqlstate == "55P03"
        other.rollback()
        free = sa.select(Ship.id).order_by(Ship.id).limit(2).with_for_update(skip_locked=True)
        assert other.scalars(free).all() == [1, 3]
    ship.tons += 1
    session.commit()
    session.refresh(ship, with_for_update={"read": True, "key_share": True})
    assert ship.tons == 26


def test_rows_of_a_join_are_held(engine, session):
    query = (
        sa.select(Ship)
        .join(Port, Port.code == Ship.port_code)
        .where(Port.country == "NO")
        .order_by(Ship.id)
        .with_for_update(of=Ship, key_share=True)
    )
    assert [ship.name for ship in session.scalars(query)] == ["Aurora", "Brig"]
    with orm.Session(engine) as other:
        # The ports are not held.
        assert other.get(Port, "BGO", with_for_update={"nowait": True}).country == "NO"


# ---- Reflection.


def test_names_are_reflected(outside, tables):
    inspector = sa.inspect(outside)
    assert {"sa_ports", "sa_ships"} <= set(inspector.get_table_names())
    assert {"public", "information_schema"} <= set(inspector.get_schema_names())


def test_columns_are_reflected(outside, tables):
    columns = {column["name"]: column for column in sa.inspect(outside).get_columns("sa_ships")}
    assert list(columns) == [column.name for column in Ship.__table__.columns]
    kinds = {name: type(column["type"]) for name, column in columns.items()}
    assert kinds == {
        "id": sa.BIGINT,
        "name": sa.TEXT,
        "tons": sa.INTEGER,
        "price": sa.NUMERIC,
        "built": sa.DATE,
        "seen": pg.TIMESTAMP,
        "key": sa.UUID,
        "details": pg.JSONB,
        "tags": pg.ARRAY,
        "sails": sa.BOOLEAN,
        "port_code": sa.VARCHAR,
    }
    assert (columns["price"]["type"].precision, columns["price"]["type"].scale) == (12, 2)
    assert columns["port_code"]["type"].length == 5
    assert columns["seen"]["type"].timezone
    assert isinstance(columns["tags"]["type"].item_type, sa.TEXT)
    assert not columns["name"]["nullable"] and columns["tons"]["nullable"]
    assert columns["sails"]["default"] == "true"


def test_keys_and_checks_are_reflected(outside, tables):
    inspector = sa.inspect(outside)
    assert inspector.get_pk_constraint("sa_ships")["constrained_columns"] == ["id"]
    checks = inspector.get_check_constraints("sa_ships")
    assert [check["name"] for check in checks] == ["tons_not_negative"]
    assert "tons" in checks[0]["sqltext"]
    assert inspector.get_foreign_keys("sa_ships") == []
    assert inspector.get_unique_constraints("sa_ships") == []
    assert inspector.get_indexes("sa_ships") == []
    assert inspector.get_table_comment("sa_ships") == {"text": None}


def test_views_are_reflected(outside, tables):
    with outside.connect() as connection:
        connection.execute(sa.text("CREATE OR REPLACE VIEW sa_heavy AS QUERY sa_ships WHERE tons > 20"))
    inspector = sa.inspect(outside)
    assert "sa_heavy" in inspector.get_view_names()
    assert "sa_ships" in inspector.get_view_definition("sa_heavy")
    assert [column["name"] for column in inspector.get_columns("sa_heavy")][:2] == ["id", "name"]


def test_a_table_is_loaded_from_the_database(outside, session):
    table = sa.Table("sa_ships", sa.MetaData(), autoload_with=outside)
    assert [column.name for column in table.primary_key] == ["id"]
    with outside.connect() as connection:
        assert connection.execute(sa.select(table.c.name).where(table.c.id == 1)).scalar_one() == "Aurora"


def test_everything_is_loaded_from_the_database(outside, tables):
    metadata = sa.MetaData()
    metadata.reflect(outside, views=True)
    assert {"sa_ports", "sa_ships"} <= set(metadata.tables)


# ---- The ORM.


def test_objects_come_back_as_they_were(engine, session):
    ship = Ship(
        id=100,
        name="Etna 🌋",
        tons=60,
        price=Decimal("123456789.99"),
        built=dt.date(2020, 2, 29),
        seen=dt.datetime(2026, 3, 1, 12, 30, tzinfo=UTC),
        key=uuid.uuid4(),
        details={"crew": [1, 2, {"captain": None}], "ok": True},
        tags=["old", "wood", 'qu"ote'],
        sails=False,
    )
    wanted = {column.name: getattr(ship, column.name) for column in Ship.__table__.columns}
    session.add(ship)
    session.commit()
    with orm.Session(engine) as other:
        found = other.get(Ship, 100)
        assert {column.name: getattr(found, column.name) for column in Ship.__table__.columns} == wanted


def test_defaults_of_the_server_are_fetched(session):
    ship = Ship(id=101, name="Fram")
    session.add(ship)
    session.flush()
    assert ship.sails is True


def test_objects_are_found_by_key_and_by_condition(session):
    assert session.get(Ship, 1).name == "Aurora"
    assert session.get(Ship, 999) is None
    assert names(session, sa.select(Ship.name).where(Ship.tons > 10).order_by(Ship.tons.desc())) == ["Aurora", "Brig"]
    assert session.execute(sa.select(Ship).filter_by(name="Brig")).scalar_one().id == 2


def test_objects_are_changed(engine, session):
    session.get(Ship, 2).tons += 5
    session.get(Ship, 4).name = "Dinghy"
    session.commit()
    with orm.Session(engine) as other:
        assert (other.get(Ship, 2).tons, other.get(Ship, 4).name) == (30, "Dinghy")


def test_objects_are_deleted(session):
    session.delete(session.get(Ship, 3))
    session.commit()
    assert session.scalar(sa.select(sa.func.count()).select_from(Ship)) == 3


def test_a_change_of_a_row_that_is_gone_is_seen(engine, session):
    ship = session.get(Ship, 1)
    with engine.begin() as other:
        other.execute(sa.delete(Ship).where(Ship.id == 1))
    session.rollback()
    with pytest.raises(orm.exc.ObjectDeletedError):
        ship.tons += 1


def test_relationships_are_loaded_lazily(session):
    port = session.get(Port, "BGO")
    assert [ship.name for ship in port.ships] == ["Aurora", "Brig"]
    assert session.get(Ship, 3).port.country == "FI"
    assert session.get(Ship, 4).port is None


@pytest.mark.parametrize("load", [orm.joinedload, orm.selectinload, orm.subqueryload])
def test_relationships_are_loaded_at_once(session, load):
    session.expunge_all()
    ports = session.scalars(sa.select(Port).options(load(Port.ships)).order_by(Port.code)).unique().all()
    assert {port.code: [ship.id for ship in port.ships] for port in ports} == {"BGO": [1, 2], "TKU": [3]}


def test_relationships_are_changed(session):
    port = session.get(Port, "TKU")
    port.ships.append(session.get(Ship, 4))
    session.commit()
    assert session.get(Ship, 4).port_code == "TKU"


def test_many_objects_are_added(session):
    session.add_all([Ship(id=1000 + n, name=f"ship {n}", tons=n) for n in range(2000)])
    session.commit()
    assert session.scalar(sa.select(sa.func.count()).where(Ship.id >= 1000)) == 2000


# ---- Bulk.


def test_rows_are_inserted_in_bulk(session):
    rows = [{"id": 2000 + n, "name": f"n{n}", "tons": n} for n in range(1500)]
    session.execute(sa.insert(Ship), rows)
    session.commit()
    assert session.scalar(sa.select(sa.func.sum(Ship.tons)).where(Ship.id >= 2000)) == 1500 * 1499 // 2


def test_rows_inserted_in_bulk_are_returned(session):
    rows = [{"id": 3000 + n, "name": f"n{n}"} for n in range(50)]
    ids = session.scalars(sa.insert(Ship).returning(Ship.id, sort_by_parameter_order=True), rows).all()
    assert ids == [3000 + n for n in range(50)]


def test_rows_are_updated_in_bulk(session):
    session.execute(sa.update(Ship), [{"id": 1, "tons": 41}, {"id": 2, "tons": 26}])
    assert names(session, sa.select(Ship.tons).where(Ship.id.in_([1, 2])).order_by(Ship.id)) == [41, 26]


def test_rows_are_updated_and_deleted_by_condition(session):
    changed = session.execute(sa.update(Ship).where(Ship.tons < 30).values(tons=Ship.tons * 2).returning(Ship.id))
    assert sorted(changed.scalars()) == [2, 3]
    assert session.execute(sa.delete(Ship).where(Ship.tons.is_(None))).rowcount == 1


def test_conflicts_do_nothing_or_update(session):
    insert = pg.insert(Ship).values(id=1, name="Aurora II")
    counted = {"preserve_rowcount": True}
    assert session.execute(insert.on_conflict_do_nothing(), execution_options=counted).rowcount == 0
    update = insert.on_conflict_do_update(index_elements=[Ship.id], set_={"name": insert.excluded.name})
    assert session.scalar(update.returning(Ship.name)) == "Aurora II"


def test_a_table_is_filled_from_a_query(session):
    query = sa.select(Ship.id + 500, Ship.name).where(Ship.tons.is_not(None))
    session.execute(sa.insert(Ship).from_select(["id", "name"], query))
    assert session.scalar(sa.select(sa.func.count()).where(Ship.id > 500)) == 3


# ---- Transactions.


def test_a_transaction_is_rolled_back(engine, session):
    with pytest.raises(ZeroDivisionError), engine.begin() as connection:
        connection.execute(sa.delete(Ship))
        raise ZeroDivisionError
    assert session.scalar(sa.select(sa.func.count()).select_from(Ship)) == 4


def test_a_nested_transaction_is_a_savepoint(session):
    session.get(Ship, 1).tons = 1
    with pytest.raises(exc.IntegrityError), session.begin_nested():
        session.execute(sa.insert(Ship).values(id=2, name="again"))
    with session.begin_nested():
        session.add(Ship(id=50, name="inner"))
    session.commit()
    assert (session.get(Ship, 1).tons, session.get(Ship, 50).name) == (1, "inner")


def test_of_two_writers_one_is_told_to_try_again(engine, session):
    with orm.Session(engine) as other:
        session.get(Ship, 1).tons = 1
        other.get(Ship, 1).tons = 2
        session.commit()
        with pytest.raises(exc.OperationalError) as raised:
            other.commit()
    assert raised.value.orig.sqlstate == "40001"


@pytest.mark.parametrize(
    ("kind", "state", "values"),
    [
        (exc.IntegrityError, "23505", {"id": 1, "name": "again"}),
        (exc.IntegrityError, "23502", {"id": 9, "name": None}),
        (exc.IntegrityError, "23514", {"id": 9, "name": "x", "tons": -1}),
    ],
    ids=["there already", "null", "check"],
)
def test_errors_are_of_their_kind(session, kind, state, values):
    with pytest.raises(kind) as raised:
        session.execute(sa.insert(Ship.__table__).values(**values))
    assert raised.value.orig.sqlstate == state
    session.rollback()


def test_a_mistake_is_a_programming_error(session):
    with pytest.raises(exc.ProgrammingError) as raised:
        session.execute(sa.text("SELECT nmae FROM sa_ships"))
    assert raised.value.orig.sqlstate == "42703"


def test_a_stale_connection_is_noticed_and_replaced(engine, outside):
    made = sa.create_engine(engine.url, connect_args={"sslmode": os.environ["PGSSLMODE"]}, pool_pre_ping=True)
    with made.connect() as connection:
        backend = connection.connection.dbapi_connection
    backend.close()
    with made.connect() as connection:
        assert connection.scalar(sa.text("SELECT 1")) == 1
    made.dispose()


# ---- Expressions.


def test_groups_and_conditions_on_them(session):
    count = sa.func.count(Ship.id).label("n")
    query = sa.select(Ship.port_code, count, sa.func.avg(Ship.tons)).group_by(Ship.port_code).having(count > 1)
    code, n, average = session.execute(query).one()
    assert (code, n, float(average)) == ("BGO", 2, 32.5)


def test_joins(session):
    query = sa.select(Ship.name, Port.country).join(Ship.port).order_by(Ship.id)
    assert [tuple(row) for row in session.execute(query)] == [("Aurora", "NO"), ("Brig", "NO"), ("Cutter", "FI")]
    assert len(session.execute(sa.select(Ship.id, Port.code).outerjoin(Ship.port)).all()) == 4


def test_queries_in_queries(session):
    heaviest = sa.select(sa.func.max(Ship.tons)).scalar_subquery()
    assert names(session, sa.select(Ship.name).where(Ship.tons == heaviest)) == ["Aurora"]
    empty = sa.select(Port.code).where(~sa.exists().where(Ship.port_code == Port.code, Ship.tons > 10))
    assert names(session, empty) == ["TKU"]
    with_ships = sa.select(Ship.port_code).where(Ship.port_code.is_not(None))
    assert sorted(names(session, sa.select(Port.code).where(Port.code.in_(with_ships)))) == ["BGO", "TKU"]


def test_named_queries(session):
    heavy = sa.select(Ship.id, Ship.port_code).where(Ship.tons > 20).cte("heavy")
    assert session.scalar(sa.select(sa.func.count()).select_from(heavy)) == 2
    numbers = sa.select(sa.literal(1).label("n")).cte("numbers", recursive=True)
    numbers = numbers.union_all(sa.select(numbers.c.n + 1).where(numbers.c.n < 5))
    assert names(session, sa.select(numbers.c.n).order_by(numbers.c.n)) == [1, 2, 3, 4, 5]


def test_windows(session):
    rank = sa.func.row_number().over(partition_by=Ship.port_code, order_by=Ship.tons.desc())
    query = sa.select(Ship.name, rank).where(Ship.port_code.is_not(None)).order_by(Ship.id)
    rows = [tuple(row) for row in session.execute(query)]
    assert rows == [("Aurora", 1), ("Brig", 2), ("Cutter", 1)]
    assert {type(row[1]) for row in rows} == {int}


def test_cases_casts_and_functions(session):
    size = sa.case((Ship.tons > 20, "large"), (Ship.tons.is_not(None), "small"), else_="unknown")
    query = sa.select(size, sa.cast(Ship.id, sa.Text).label("t"), sa.func.coalesce(Ship.tons, -1)).order_by(Ship.id)
    assert [tuple(row) for row in session.execute(query)] == [
        ("large", "1", 40),
        ("large", "2", 25),
        ("small", "3", 8),
        ("unknown", "4", -1),
    ]


def test_sets(session):
    one, two = sa.select(Ship.id).where(Ship.id < 3), sa.select(Ship.id).where(Ship.id > 1)
    assert sorted(names(session, sa.union(one, two))) == [1, 2, 3, 4]
    assert sorted(names(session, sa.intersect(one, two))) == [2]
    assert sorted(names(session, sa.except_(one, two))) == [1]


def test_lists_and_patterns(session):
    assert names(session, sa.select(Ship.id).where(Ship.id.in_([1, 4, 9])).order_by(Ship.id)) == [1, 4]
    assert names(session, sa.select(Ship.id).where(Ship.id.in_([]))) == []
    assert names(session, sa.select(Ship.id).where(Ship.name.ilike("%UR%"))) == [1]
    assert names(session, sa.select(Ship.id).where(Ship.name.startswith("D", autoescape=True))) == [4]
    assert names(session, sa.select(Ship.id).where(Ship.tons.between(8, 25)).order_by(Ship.id)) == [2, 3]
    assert names(session, sa.select(Ship.id).where(Ship.id == sa.any_(sa.literal([3, 9], pg.ARRAY(sa.Integer))))) == [3]


def test_documents_and_arrays(session):
    session.get(Ship, 1).details = {"crew": {"captain": "Ada", "size": 7}}
    session.get(Ship, 1).tags = ["old", "wood"]
    session.flush()
    captain = Ship.details["crew"]["captain"].astext
    assert names(session, sa.select(Ship.id).where(captain == "Ada")) == [1]
    assert session.scalar(sa.select(Ship.tags[1]).where(Ship.id == 1)) == "old"
    assert names(session, sa.select(Ship.id).where(sa.literal("wood") == sa.any_(Ship.tags))) == [1]


def test_parts_of_times(session):
    assert session.scalar(sa.select(sa.extract("year", Ship.built)).where(Ship.id == 1)) == 1999
    long_ago = dt.datetime(2000, 1, 1, tzinfo=UTC)
    assert session.scalar(sa.select(sa.func.now() > long_ago)) is True


def test_pages(session):
    assert names(session, sa.select(Ship.name).order_by(Ship.name).limit(2).offset(1)) == ["Brig", "Cutter"]


def test_rows_in_parts(session):
    found = session.execute(sa.select(Ship.id).order_by(Ship.id)).partitions(3)
    assert [[row.id for row in part] for part in found] == [[1, 2, 3], [4]]


def test_streams_of_the_server(engine, session):
    """They are DECLARE CURSOR."""
    with engine.connect() as connection:
        streamed = connection.execution_options(stream_results=True, max_row_buffer=2)
        assert [row.id for row in streamed.execute(sa.select(Ship.id).order_by(Ship.id))] == [1, 2, 3, 4]
    found = session.execute(sa.select(Ship).order_by(Ship.id).execution_options(yield_per=3))
    assert [[ship.id for ship in part] for part in found.scalars().partitions()] == [[1, 2, 3], [4]]


def test_pipelines_as_text(session):
    found = session.execute(sa.text("QUERY sa_ships WHERE tons > :least SELECT name ORDER BY name"), {"least": 20})
    assert found.scalars().all() == ["Aurora", "Brig"]
    shards = session.execute(sa.text("QUERY SYSTEM.SHARDS SELECT shard_id ORDER BY shard_id")).scalars().all()
    assert shards == [1, 2, 3, 4]
    assert session.execute(sa.text("EXPLAIN REBALANCE SHARDS")).keys()


@pytest.mark.parametrize(
    ("column", "value"),
    [
        (sa.SmallInteger, -5),
        (sa.Float, 0.1),
        (sa.REAL, 1.5),
        (sa.LargeBinary, b"\x00\xff"),
        (sa.Time, dt.time(1, 2, 3, 4)),
        (sa.DateTime, dt.datetime(2026, 1, 1, 1, 2, 3, 4)),
        (sa.Interval, dt.timedelta(days=3, seconds=5)),
        (pg.JSON, {"a": 1}),
        (pg.ARRAY(sa.Integer), [1, None]),
        (sa.Uuid, uuid.UUID(int=5)),
        (sa.Unicode(10), "ä€"),
        (sa.Boolean, True),
    ],
    ids="smallint float real bytea time timestamp interval json array uuid unicode boolean".split(),
)
def test_values_of_types(outside, name, column, value):
    table = sa.Table(
        name, sa.MetaData(), sa.Column("id", sa.Integer, primary_key=True, autoincrement=False), sa.Column("v", column)
    )
    table.create(outside)
    with outside.connect() as connection:
        connection.execute(table.insert(), [{"id": 1, "v": value}, {"id": 2, "v": None}])
        assert connection.execute(sa.select(table.c.v).order_by(table.c.id)).scalars().all() == [value, None]
        if column is not pg.JSON:
            assert connection.execute(sa.select(table.c.id).where(table.c.v == value)).scalars().all() == [1]
    table.drop(outside)
